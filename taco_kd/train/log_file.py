"""The log of a run: a line a step, each whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from taco_kd.disk import room_for
from taco_kd.files import replacing
from taco_kd.runs import RunDir


def line_of(values: Mapping[str, Any]) -> str:
    """``values`` as a line of JSON."""
    return json.dumps(values) + "\n"


class LogFile:
    """Appends lines to ``path``, at once and without a buffer: a process that is killed leaves them there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def write(self, values: Mapping[str, Any]) -> None:
        """Append ``values`` as a line of JSON.

        Raises:
            DiskFullError: there is no room; nothing of the line is left.
        """
        line = memoryview(line_of(values).encode())
        before = os.fstat(self._file.fileno()).st_size
        try:
            with room_for(self.path, len(line)):
                while line:  # a disk that is nearly full takes a part of it, and says so
                    line = line[self._file.write(line) :]
        except BaseException:
            os.truncate(self._file.fileno(), before)
            raise

    def sync(self) -> None:
        """Have what was written survive a power cut; before a checkpoint that counts on it."""
        with room_for(self.path):
            os.fsync(self._file.fileno())

    def __enter__(self) -> LogFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def cut(run: RunDir, step: int) -> None:
    """Drop the lines of steps that were done after the checkpoint of ``step``: they are done again."""
    if not run.log_file.is_file():
        return
    kept = [line for line in run.log() if line["step"] <= step]
    with replacing(run.log_file) as aside:
        aside.write_text("".join(line_of(line) for line in kept), encoding="utf-8")
