"""A run followed from outside, by the files that it writes. Needs no torch.

Lines may be half written, the log may be cut and replaced when the run is resumed, and the process may be
gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taco_kd.errors import DataError
from taco_kd.runs import PRETRAIN, RunDir
from taco_kd.train.liveness import life_of
from taco_kd.train.pace import Pace

Status = Literal["waiting", "running", "finished", "stopped", "killed", "silent"]


class JsonLines:
    """New whole lines of a file that others write to."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = 0
        self._inode: int | None = None
        self._half = b""

    def read(self) -> tuple[bool, list[dict[str, Any]]]:
        """Whether everything was read anew because the file is another one, and the lines that are new."""
        try:
            with self._file.open("rb") as file:
                state = os.fstat(file.fileno())
                anew = state.st_ino != self._inode or state.st_size < self._at
                if anew:
                    self._inode, self._at, self._half = state.st_ino, 0, b""
                file.seek(self._at)
                block = file.read()
        except OSError:
            anew, block = self._inode is not None, b""
            self._inode, self._at, self._half = None, 0, b""
            return anew, []
        self._at += len(block)
        *whole, self._half = (self._half + block).split(b"\n")
        return anew, list(_parsed(whole))


def _parsed(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            yield value


@dataclass(frozen=True)
class State:
    """A run at one moment.

    Attributes:
        words: how it stands, and what to do if it does not go on.
        pace: its curves and figures.
        record: its record as it was last read.
        stage: ``pretrain``, or empty in the only or the second stage.
    """

    run: RunDir
    status: Status
    words: str
    pace: Pace
    record: dict[str, Any]
    stage: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ("finished", "stopped", "killed")

    def to_json(self) -> dict[str, Any]:
        pace, last = self.pace, self.pace.last
        ap, best = pace.last_ap, pace.best
        return {
            "run": str(self.run.path),
            "status": self.status,
            "words": self.words,
            "stage": self.stage or None,
            "step": pace.step,
            "steps_total": pace.whole,
            "loss": pace.loss,
            "terms": last.get("terms") or {},
            "lr": last.get("lr"),
            "images_per_s": pace.images_per_s,
            "data_wait_share": pace.waiting,
            "memory_mb": last.get("memory_mb"),
            "skipped": pace.skipped,
            "ap": ap and ap[1],
            "ap_step": ap and ap[0],
            "best_ap": best and best[1],
            "best_step": best and best[0],
            "seconds_left": None if self.ended else pace.seconds_left(),
        }


class Follower:
    """Reads what is new of one run, each time it is asked."""

    def __init__(self, path: Path) -> None:
        self.run = RunDir(path)
        self._stage: Path | None = None
        self._record: dict[str, Any] = {}
        self._start(path)

    def _start(self, stage: Path) -> None:
        self._stage = stage
        at = RunDir(stage)
        self._log, self._evaluations = JsonLines(at.log_file), JsonLines(at.evaluations_file)
        self._pace = Pace()

    def look(self) -> State:
        """Where the run stands now."""
        root = _record(self.run)
        if root is None:
            return State(self.run, "waiting", f"no run in {self.run.path} yet", Pace(), {})
        first = self.run.pretrain
        first_record = _record(first)
        in_first = first_record is not None and first_record.get("status") != "finished"
        stage, record = (first, first_record or {}) if in_first else (self.run, root)
        if stage.path != self._stage:
            self._start(stage.path)
        before = 0 if first_record is None or in_first else int(first_record.get("steps") or 0)
        after = int(root.get("steps_total") or 0) if in_first else 0
        total = int(record.get("steps_total") or 0) + before + after
        batch = ((record.get("recipe") or {}).get("train") or {}).get("batch_size")
        self._take_in(before, total or None, batch)
        status, words = self._status(stage, record, root)
        return State(self.run, status, words, self._pace, root, PRETRAIN if in_first else "")

    def _take_in(self, offset: int, whole: int | None, batch_size: int | None) -> None:
        cut, lines = self._log.read()
        changed, evaluations = self._evaluations.read()
        if cut or changed or (self._pace.offset, self._pace.whole) != (offset, whole):
            # Curves are drawn anew from the start; both files are small beside what wrote them.
            stage = RunDir(self._stage or self.run.path)
            self._log, self._evaluations = JsonLines(stage.log_file), JsonLines(stage.evaluations_file)
            (_, lines), (_, evaluations) = self._log.read(), self._evaluations.read()
            self._pace = Pace(offset, whole, batch_size)
        for line in lines:
            self._pace.add(line)
        for found in evaluations:
            if isinstance(found.get("ap"), int | float):
                self._pace.evaluated(found["step"], float(found["ap"]))

    def _status(self, stage: RunDir, record: dict[str, Any], root: dict[str, Any]) -> tuple[Status, str]:
        step, total = self._pace.step, self._pace.whole
        of = f"{step:,} of {total:,}" if total else f"{step:,}"
        command = "distill" if root.get("kind") == "distill" else "train"
        again = f"taco-kd {command} --resume {self.run.path}"
        said = record.get("status")
        if said == "finished":
            early = "; ended early, the last evaluations were no better" if root.get("stopped_early") else ""
            return "finished", f"finished after {step:,} steps{early}"
        if said == "stopped":
            return "stopped", f"stopped at step {of}; go on with: {again}"
        life = life_of(record, stage.log_file, self._pace.step_s)
        if life == "gone" and RunDir(stage.path).record().get("status") != "running":
            return self._status(stage, RunDir(stage.path).record(), root)  # it ended while we looked
        if life == "gone":
            return "killed", f"killed at step {of}; go on with: {again}"
        if life == "silent":
            return "silent", f"at step {of}, and nothing was written for minutes; if it is gone: {again}"
        return "running", f"running, step {of}"


def _record(run: RunDir) -> dict[str, Any] | None:
    try:
        return run.record() if run.record_file.is_file() else None
    except DataError:  # replaced at this moment on a file system that does not do so at once
        return None


def runs_below(path: Path) -> list[Path]:
    """The run at ``path``, or all runs in the folders below, by name, without the stages of runs."""
    if (path / "run.json").is_file() or not path.is_dir():
        return [path]
    found = [record.parent for depth in ("*", "*/*", "*/*/*") for record in path.glob(f"{depth}/run.json")]
    return sorted(p for p in found if not (p.name == PRETRAIN and (p.parent / "run.json").is_file()))
