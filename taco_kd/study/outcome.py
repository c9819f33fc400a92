"""The outcome of a study: its table, its verdicts, and the files that keep them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from taco_kd.environment import package_versions
from taco_kd.files import write_json, write_text
from taco_kd.progress import Tick
from taco_kd.report.page import report
from taco_kd.runs import DataDir
from taco_kd.study.config import StudyConfig
from taco_kd.study.markdown import markdown
from taco_kd.study.questions import Question, ask
from taco_kd.study.status import CellStatus
from taco_kd.study.table import Row, table


@dataclass(frozen=True)
class Outcome:
    """What a study has found so far.

    Attributes:
        statuses: of all cells.
        chosen: ids of the cells that this call was about.
        pages: HTML report of each question that has runs.
    """

    study: StudyConfig
    statuses: tuple[CellStatus, ...]
    questions: tuple[Question, ...]
    rows: tuple[Row, ...]
    record: Path
    text: Path
    pages: tuple[Path, ...]
    chosen: frozenset[str]

    @property
    def failed(self) -> list[CellStatus]:
        """Chosen cells that failed."""
        return [s for s in self.statuses if s.state == "failed" and s.cell.id in self.chosen]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values: what ``study.json`` holds."""
        return {
            "format": 1,
            "name": self.study.name,
            "description": self.study.description,
            "study": self.study.model_dump(mode="json"),
            "cells": [status.to_json() for status in self.statuses],
            "rows": [row.to_json() for row in self.rows],
            "questions": [
                {
                    "initialisation": question.initialisation,
                    "comparison": question.comparison and question.comparison.to_json(),
                    "reason": question.reason,
                }
                for question in self.questions
            ],
            "reports": [str(page) for page in self.pages],
            "packages": package_versions(),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }


def write_outcome(
    study: StudyConfig,
    statuses: Sequence[CellStatus],
    data: DataDir,
    out: Path,
    *,
    chosen: frozenset[str],
    resamples: int,
    on_progress: Tick | None = None,
) -> Outcome:
    """Evaluate and compare what is finished, and write ``study.json``, ``study.md`` and the reports.

    Raises:
        DataError: a record of a finished run is damaged.
    """
    questions = ask(study, statuses, data, resamples=resamples, on_progress=on_progress)
    pages = tuple(_page(study, question, out) for question in questions if question.arms)
    rows = table(study, questions)
    outcome = Outcome(
        study=study,
        statuses=tuple(statuses),
        questions=questions,
        rows=rows,
        record=out / "study.json",
        text=out / "study.md",
        pages=pages,
        chosen=chosen,
    )
    write_text(outcome.text, markdown(study, statuses, rows, questions))
    write_json(outcome.record, outcome.to_json())
    return outcome


def _page(study: StudyConfig, question: Question, out: Path) -> Path:
    """The HTML report of a question: its runs, with the comparison of all."""
    suffix = "" if question.initialisation is None else f"-{question.initialisation}"
    start = "" if question.initialisation is None else f", {question.initialisation}"
    some = "" if study.folds is None else ": runs of one fold, and the verdict of all"
    return report(
        [run for arm in question.arms for run in arm.shown],
        out / f"report{suffix}.html",
        comparison=question.comparison.to_json() if question.comparison else None,
        title=f"{study.name}{start}{some}",
    )
