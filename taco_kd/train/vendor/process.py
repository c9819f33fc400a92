"""The trainer's process seen from its parent: started, listened to, ended with it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import taco_kd
from taco_kd.errors import TacoKDError
from taco_kd.files import write_json

POLL_S = 0.2
"""How long a request to stop can go unnoticed between two lines."""

END_S = 20.0
"""How long the process may take to end when it is asked to."""


def listen(job: dict[str, Any], folder: Path, stopping: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """What the trainer tells, until it ends or ``stopping`` says so; it never outlives the generator.

    Args:
        job: see :mod:`taco_kd.train.vendor.child`.
        folder: the only one that it writes to.

    Raises:
        TacoKDError: it failed; names the last line of what it said, and the file with the rest.
    """
    file, output = folder / "job.json", folder / "output.txt"
    write_json(file, job)
    (folder / "settings").mkdir(exist_ok=True)
    root = str(Path(taco_kd.__file__).resolve().parent.parent)
    paths = [root, *(str(Path(p).resolve()) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "YOLO_CONFIG_DIR": str((folder / "settings").resolve()),  # its settings file
        "MPLCONFIGDIR": str((folder / "settings").resolve()),
    }
    command = [sys.executable, "-m", "taco_kd.train.vendor.child", str(file.resolve())]
    with output.open("ab") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            cwd=folder,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process, which ends that one
        )
    yield from _lines(process, stopping)
    if process.returncode != 0 and not stopping():
        text = output.read_text(encoding="utf-8", errors="replace").strip() or "it said nothing"
        raise TacoKDError(f"Ultralytics' trainer failed: {text.splitlines()[-1]} (all it said: {output})")


def _lines(process: subprocess.Popen[bytes], stopping: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    stream = process.stdout
    assert stream is not None
    lines: queue.Queue[bytes | None] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while not stopping():
            try:
                line = lines.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if line is None:
                process.wait()
                return
            yield json.loads(line)
    finally:
        _end(process)
        reader.join()
        stream.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
