"""``run_study(study, out)``: its data, its cells wherever they are run, and its outcome."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from taco_kd.errors import UsageError
from taco_kd.files import write_text
from taco_kd.progress import Tick, warn
from taco_kd.study.cells import expand, select, waves
from taco_kd.study.config import StudyConfig
from taco_kd.study.data import RECORD_NAME, StudyData, Task, claim_folder, make_data
from taco_kd.study.launchers import Launch, Launcher, launcher
from taco_kd.study.outcome import Outcome, write_outcome
from taco_kd.study.status import CellStatus, keep_failure, status_of
from taco_kd.study.stopping import StopRequests
from taco_kd.study.work import Result, make_job


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
    claim_folder(study, out)
    with StopRequests() as stop:
        data = make_data(study, text, out, data_path, task)
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


def _refuse_changed(statuses: Sequence[CellStatus], overwrite: bool) -> None:
    changed = [status for status in statuses if status.state == "changed"]
    if not changed or overwrite:
        return
    first = changed[0]
    raise UsageError(
        f"{len(changed)} of {len(statuses)} cells were run with other settings (the first, {first.cell.id}: "
        f"{first.reason}); add --overwrite to run them again, or choose another --out"
    )
