"""What is done of a study: the state of each cell as its run folder tells it, and how long the rest takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taco_kd.data.part import put_aside
from taco_kd.errors import DataError
from taco_kd.files import read_json, write_json
from taco_kd.runs import DataDir
from taco_kd.study.cells import Cell
from taco_kd.study.work import Result

State = Literal["finished", "stopped", "failed", "changed", "to do"]


@dataclass(frozen=True)
class CellStatus:
    """One cell and what is on disk of it.

    Attributes:
        reason: why it failed, or what changed; else empty.
        steps_done: in the log or record of the run.
        steps_total: None as long as the data is not there to count epochs by.
        seconds: of training so far.
    """

    cell: Cell
    state: State
    reason: str
    steps_done: int
    steps_total: int | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "id": self.cell.id,
            "arm": self.cell.arm,
            "initialisation": self.cell.initialisation,
            "seed": self.cell.seed,
            "fold": self.cell.fold,
            "state": self.state,
            "reason": self.reason,
            "run": str(self.cell.run.path),
            "steps": self.steps_done,
            "steps_total": self.steps_total,
            "seconds": round(self.seconds, 1),
        }


def failure_file(folder: Path, cell: Cell) -> Path:
    """Where the reason of a failed cell is kept in the study's folder."""
    return folder / "failed" / f"{cell.id}.json"


def keep_failure(folder: Path, cell: Cell, result: Result) -> None:
    """Write down why a cell failed, or forget that it did."""
    file = failure_file(folder, cell)
    if result.ending == "failed":
        write_json(file, {"cell": cell.id, "reason": result.reason, "exit_code": result.exit_code})
    else:
        file.unlink(missing_ok=True)


def status_of(cell: Cell, data: DataDir | None, folder: Path) -> CellStatus:
    """The state of one cell.

    Args:
        data: the dataset or fold it is trained on; None when it is not there yet.
        folder: of the study.

    Raises:
        DataError: the record of its run is damaged.
    """
    total = cell.recipe.train.steps or (_steps_of_epochs(cell, data) if data else None)
    if not cell.run.record_file.is_file():
        reason = _failure(folder, cell)
        return CellStatus(cell, "failed" if reason else "to do", reason, 0, total, 0.0)
    record = cell.run.record()
    seconds = float(record.get("seconds") or 0.0)
    done = int(record.get("steps") or 0)
    change = _change(cell, record, data)
    if change:
        return CellStatus(cell, "changed", change, done, total, seconds)
    if record.get("status") == "finished" and cell.run.metrics_file("val").is_file():
        return CellStatus(cell, "finished", "", done, done, seconds)
    reason = _failure(folder, cell)
    last = max((line["step"] for line in cell.run.log()), default=0)
    return CellStatus(cell, "failed" if reason else "stopped", reason, last, total, seconds)


def _failure(folder: Path, cell: Cell) -> str:
    file = failure_file(folder, cell)
    return str(read_json(file).get("reason") or "not recorded") if file.is_file() else ""


def _change(cell: Cell, record: Mapping[str, Any], data: DataDir | None) -> str:
    """What of the cell is not as it was when its run was begun; empty when all is."""
    was, now = record.get("recipe") or {}, cell.recipe.model_dump(mode="json")
    for key in sorted({*_flat(was), *_flat(now)}):
        old, new = _flat(was).get(key), _flat(now).get(key)
        if old != new:
            return f"{key} was {old!r} and is {new!r}"
    if data is not None and (record.get("data") or {}).get("content_hash") != data.content_hash:
        return "the data changed"
    return ""


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _steps_of_epochs(cell: Cell, data: DataDir) -> int:
    images = int(data.record()["counts"]["train"]["images"])
    if images and cell.recipe.train.hold_out:
        stay, _ = put_aside(data, cell.recipe.train.hold_out, cell.recipe.train.seed)
        images = len(stay.image_ids)
    if images == 0:
        raise DataError(f"{data.path}: the train split holds no image")
    return max(1, cell.recipe.train.epochs * (images // min(cell.recipe.train.batch_size, images)))


def estimate_seconds(statuses: Sequence[CellStatus]) -> float | None:
    """Training time that is left with one cell at a time; None before a cell has been timed.

    A cell takes the seconds a step that the cells of its arm took; those of an arm without any, as many as
    the slowest arm.
    """
    pace: dict[str, list[float]] = {}
    for status in statuses:
        if status.state == "finished" and status.steps_done:
            pace.setdefault(status.cell.arm, []).append(status.seconds / status.steps_done)
    if not pace:
        return None
    means = {arm: math.fsum(values) / len(values) for arm, values in pace.items()}
    slowest = max(means.values())
    return math.fsum(
        means.get(status.cell.arm, slowest) * max(0, (status.steps_total or 0) - _kept(status))
        for status in statuses
        if status.state != "finished"
    )


def _kept(status: CellStatus) -> int:
    """Steps that need not be done again."""
    return 0 if status.state == "changed" else status.steps_done
