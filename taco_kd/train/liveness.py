"""Whether the process that writes a run still lives; its record says which it is. Needs no torch."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import psutil

SILENT_S = 300.0
"""A run on another machine that wrote nothing for so long, and for 20 of its steps, is told to be silent."""

Life = Literal["alive", "gone", "silent", "unknown"]


def this_process() -> dict[str, Any]:
    """For the record of a run that begins."""
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": process.pid, "started": round(process.create_time(), 2)}


def life_of(record: Mapping[str, Any], log: Path, step_s: float | None) -> Life:
    """What is known of the process that a record names.

    On this machine the process itself tells, even where its number was given to another since. Elsewhere the
    age of the log does.
    """
    said = record.get("process") or {}
    if said.get("host") == socket.gethostname():
        try:
            process = psutil.Process(int(said["pid"]))
            same = abs(process.create_time() - float(said["started"])) < 2
            return "alive" if same and process.status() != psutil.STATUS_ZOMBIE else "gone"
        except (psutil.Error, KeyError, TypeError, ValueError):
            return "gone"
    try:
        age = time.time() - log.stat().st_mtime
    except OSError:
        return "unknown"
    return "silent" if age > max(SILENT_S, 20 * (step_s or 0)) else "unknown"
