"""One training at a time in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taco_kd.disk import lock_folder
from taco_kd.errors import UsageError
from taco_kd.train.processes import Processes

LOCK_SECONDS = 5.0
"""How long to wait for a process that trains in the same folder: one that was killed may still be dying."""


@contextmanager
def held(folder: Path, processes: Processes) -> Iterator[None]:
    """Keep other runs from training in ``folder`` during the block; it is made if need be.

    Raises:
        UsageError: another process does that already.
    """
    if not processes.first:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            lock = lock_folder(folder)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                raise UsageError(
                    f"{folder}: another process is training there; wait for it or choose another --out"
                ) from None
            time.sleep(0.1)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)
