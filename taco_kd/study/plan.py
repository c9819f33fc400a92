"""What a call of a study would do, found without writing anything: ``plan(study, out)``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taco_kd.models import hub
from taco_kd.models.readers import READERS
from taco_kd.runs import DataDir
from taco_kd.study.cells import Cell, expand, select
from taco_kd.study.config import StudyConfig
from taco_kd.study.data import StudyData, claim_folder, data_there
from taco_kd.study.status import CellStatus, estimate_seconds, status_of


@dataclass(frozen=True)
class Plan:
    """What a call would do, found without writing anything.

    Attributes:
        statuses: of the chosen cells.
        data: None as long as it is not there.
        notes: what a user should know before starting.
        seconds_left: training time with one cell at a time; None before any cell has finished.
    """

    statuses: tuple[CellStatus, ...]
    data: StudyData | None
    notes: tuple[str, ...]
    seconds_left: float | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "cells": [status.to_json() for status in self.statuses],
            "notes": list(self.notes),
            "seconds_left": self.seconds_left,
        }


def plan(study: StudyConfig, out: Path, *, data_path: Path | None = None, only: str | None = None) -> Plan:
    """The cells of the study, and what of them is done.

    Raises:
        UsageError: settings that do not fit, or an ``out`` that holds something else.
    """
    cells = expand(study, out)
    chosen = cells if only is None else select(cells, only)
    claim_folder(study, out)
    data, notes = data_there(study, out, data_path), []
    path = data_path or study.data.path
    if path is not None and not DataDir(path).record_file.is_file():
        notes.append(f"data: {path} is not a prepared dataset yet; make it with taco-kd prepare --out {path}")
    statuses = tuple(status_of(cell, data.of(cell) if data else None, out) for cell in chosen)
    return Plan(statuses, data, (*notes, *_missing_weights(chosen)), estimate_seconds(statuses))


def _missing_weights(cells: Sequence[Cell]) -> Iterator[str]:
    """A line for each file of weights that is named and not here, unless a cell makes it.

    Names on a hub are left to the cell: asking for them would fetch them.
    """
    made = {str(cell.run.path) for cell in cells}
    said: set[str] = set()
    for cell in cells:
        student, teacher = cell.recipe.student, cell.recipe.teacher
        for weights in (student.weights, student.backbone_from, teacher.weights if teacher else None):
            if weights is None or weights in ("packaged", "published", "random") or weights in made | said:
                continue
            path = Path(weights)
            if not path.exists() and (path.suffix in READERS or hub.parse(weights) is None):
                said.add(weights)
                yield f"weights: {weights} is not here, and {cell.id} needs it"
