"""``run_study(study, out)``: its data, its cells wherever they are run, and its outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taco_kd.config import PrepareConfig
from taco_kd.data.prepare import prepare
from taco_kd.errors import DataError, UsageError
from taco_kd.files import write_text
from taco_kd.models import hub
from taco_kd.models.sources import READERS
from taco_kd.progress import Tick, warn
from taco_kd.runs import DataDir, claim
from taco_kd.study.cells import Cell, expand, select, waves
from taco_kd.study.config import StudyConfig, load_study
from taco_kd.study.folds import make_folds
from taco_kd.study.launchers import Launch, Launcher, launcher
from taco_kd.study.outcome import Outcome, write_outcome
from taco_kd.study.status import CellStatus, estimate_seconds, keep_failure, status_of
from taco_kd.study.stopping import StopRequests
from taco_kd.study.work import Result, make_job

RECORD_NAME = "study.toml"
"""The file of a study's folder that says which study it is: the settings it was last called with."""

Task = Callable[[str], AbstractContextManager[Tick]]


@dataclass(frozen=True)
class StudyData:
    """The dataset of a study: the whole, and one for each fold (or the whole again)."""

    whole: DataDir
    folds: tuple[DataDir, ...] | None

    def of(self, cell: Cell) -> DataDir:
        return self.whole if self.folds is None or cell.fold is None else self.folds[cell.fold]


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
    _claim(study, out)
    data, notes = _data_there(study, out, data_path), []
    path = data_path or study.data.path
    if path is not None and not DataDir(path).record_file.is_file():
        notes.append(f"data: {path} is not a prepared dataset yet; make it with taco-kd prepare --out {path}")
    statuses = tuple(status_of(cell, data.of(cell) if data else None, out) for cell in chosen)
    return Plan(statuses, data, (*notes, *_missing_weights(chosen)), estimate_seconds(statuses))


def run_study(
    study: StudyConfig,
    text: str,
    out: Path,
    *,
    data_path: Path | None = None,
    only: str | None = None,
    jobs: int | None = None,
    launched_by: str = "local",
    overwrite: bool = False,
    resamples: int = 1000,
    task: Task,
) -> Outcome:
    """Run what is not done yet of the study, then evaluate, compare and report what is done.

    Args:
        text: the TOML of the study, which is kept in ``out``.
        out: folder of the study; runs go to ``out/runs``.
        data_path: a prepared dataset to use instead of the study's own.
        only: a shell pattern of cell ids; see :func:`taco_kd.study.cells.select`.
        jobs: cells at a time.
        launched_by: local, slurm or ray.
        overwrite: do cells again whose settings or data changed.
        task: opens a progress bar; see :func:`taco_kd.progress.task`.

    Raises:
        UsageError: settings that do not fit, an ``out`` of another study, or cells that changed and no
            ``overwrite``.
        DataError: data that cannot be used.
        MissingResourceError: the launcher is not installed here.
        InterruptedRunError: stopped by SIGINT or SIGTERM; the same call goes on.
    """
    start = launcher(launched_by)
    cells = expand(study, out)
    wanted = frozenset(cell.id for cell in (cells if only is None else select(cells, only)))
    _claim(study, out)
    with StopRequests() as stop:
        data = _make_data(study, text, out, data_path, task)
        statuses = [status_of(cell, data.of(cell), out) for cell in cells]
        _refuse_changed([s for s in statuses if s.cell.id in wanted], overwrite)
        write_text(out / RECORD_NAME, text)
        todo = tuple(s for s in statuses if s.cell.id in wanted and s.state != "finished")
        if todo:
            with task(f"{len(todo)} cells") as tick, stop.waited_for():
                _run_cells(todo, data, out, start, study, jobs, stop.event, tick)
        statuses = [status_of(cell, data.of(cell), out) for cell in cells]
        with task("compare") as tick:
            return write_outcome(
                study, statuses, data.whole, out, chosen=wanted, resamples=resamples, on_progress=tick
            )


def _run_cells(
    todo: Sequence[CellStatus],
    data: StudyData,
    out: Path,
    start: Launcher,
    study: StudyConfig,
    parallel: int | None,
    stop: threading.Event,
    tick: Tick,
) -> None:
    """Launch the cells group by group; one that fails keeps those that need it from being begun."""
    progress = _Progress(todo, tick)
    launch = Launch(parallel, stop, out / "logs", study.slurm, progress.step)
    by_id = {status.cell.id: status for status in todo}
    failed: set[str] = set()
    for group in waves(tuple(status.cell for status in todo)):
        jobs = []
        for cell in group:
            broken = [need for need in cell.needs if need in failed]
            if broken:
                result = Result(cell.id, "failed", f"needs {broken[0]}, which failed", 1)
                failed.add(cell.id)
                keep_failure(out, cell, result)
                continue
            changed = by_id[cell.id].state == "changed"
            jobs.append(make_job(cell, data.of(cell), out / "locks", replace=changed))
        for result in start(jobs, launch) if jobs else ():
            keep_failure(out, by_id[result.id].cell, result)
            if result.ending == "failed":
                failed.add(result.id)
                warn(f"{result.id}: {result.reason}")
            progress.ended(result)
        if stop.is_set():
            return


class _Progress:
    """One bar for all cells, in steps; launchers that cannot say the steps move it a cell at a time."""

    def __init__(self, todo: Sequence[CellStatus], tick: Tick) -> None:
        self.tick = tick
        self.total = {status.cell.id: status.steps_total or 1 for status in todo}
        self.done = dict.fromkeys(self.total, 0)
        self.endings: dict[str, str] = {}
        self.lock = threading.Lock()  # steps are told by threads

    def step(self, cell: str, done: int, total: int, note: str = "") -> None:
        with self.lock:
            self.done[cell] = min(done, self.total[cell])
            self._show(f"{cell} {note}")

    def ended(self, result: Result) -> None:
        with self.lock:
            if result.ending != "stopped":
                self.done[result.id] = self.total[result.id]
            self.endings[result.id] = result.ending
            self._show(f"{result.id} {result.ending}")

    def _show(self, note: str) -> None:
        count = f"{len(self.endings)} of {len(self.total)} cells"
        self.tick(sum(self.done.values()), sum(self.total.values()), f"{count}  {note}")


def _claim(study: StudyConfig, out: Path) -> None:
    """Refuse a folder that is not this study's.

    Raises:
        UsageError: it holds another study, or something else.
    """
    record = out / RECORD_NAME
    if not record.is_file():
        claim(out, record_name=RECORD_NAME, overwrite=False, what="study")
        return
    try:
        name = load_study(str(record)).name
    except UsageError as error:
        raise UsageError(f"{error} (choose another --out)") from None
    if name != study.name:
        raise UsageError(f"{out}: holds the study {name}, not {study.name}; choose another --out")


def _make_data(study: StudyConfig, text: str, out: Path, data_path: Path | None, task: Task) -> StudyData:
    path = data_path or study.data.path
    if path is not None and not path.exists():
        raise DataError(
            f"{path}: the study's dataset is not there; make it with taco-kd prepare --out {path}, or name "
            "yours with --data"
        )
    if not (out / RECORD_NAME).is_file():
        write_text(out / RECORD_NAME, text)
    if path is not None:
        whole = DataDir.open(path)
    else:
        with task("prepare") as tick:
            whole = prepare(study.data.prepare or PrepareConfig(), out / "data", on_progress=tick)
    if study.folds is None:
        return StudyData(whole, None)
    with task("folds") as tick:
        return StudyData(
            whole, make_folds(whole, out / "folds", study.folds, group_by=study.group_by, on_progress=tick)
        )


def _data_there(study: StudyConfig, out: Path, data_path: Path | None) -> StudyData | None:
    whole = DataDir(data_path or study.data.path or out / "data")
    if not whole.record_file.is_file():
        return None
    if study.folds is None:
        return StudyData(whole, None)
    folds = tuple(DataDir(out / "folds" / f"fold{index}") for index in range(study.folds.count))
    return StudyData(whole, folds) if all(fold.record_file.is_file() for fold in folds) else None


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


def _refuse_changed(statuses: Sequence[CellStatus], overwrite: bool) -> None:
    changed = [status for status in statuses if status.state == "changed"]
    if not changed or overwrite:
        return
    first = changed[0]
    raise UsageError(
        f"{len(changed)} of {len(statuses)} cells were run with other settings (the first, {first.cell.id}: "
        f"{first.reason}); add --overwrite to run them again, or choose another --out"
    )
