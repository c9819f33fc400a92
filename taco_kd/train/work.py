"""The steps of a run and what is written while they are done: log, checkpoints, record, result."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from taco_kd.config import Recipe
from taco_kd.data.dataset import DetectionDataset
from taco_kd.disk import lock_folder
from taco_kd.environment import pick_device
from taco_kd.errors import DataError, InterruptedRunError, UsageError
from taco_kd.models.weights import save_model, weights_hash
from taco_kd.progress import Tick, notice
from taco_kd.runs import RunDir
from taco_kd.train import checkpoint
from taco_kd.train.log_file import LogFile, cut
from taco_kd.train.loop import StepRecord, TrainState, steps
from taco_kd.train.selfcheck import SelfCheck, check_of
from taco_kd.train.stopping import StopRequests

LOCK_SECONDS = 5.0
"""How long to wait for a process that trains in the same folder: one that was killed may still be dying."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from training in ``folder`` during the block; it is made if need be.

    Raises:
        UsageError: another process does that already.
    """
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


def go_on(
    run: RunDir,
    record: dict[str, Any],
    state: TrainState,
    dataset: DetectionDataset,
    recipe: Recipe,
    steps_total: int,
    resume: bool,
    stop: StopRequests,
    on_progress: Tick | None,
) -> RunDir:
    """From the start or the last checkpoint to the end."""
    check = check_of(state.distiller, state.optimizer)
    run.sweep()
    if resume:
        _restore(run, record, state, check, steps_total)
    else:
        run.log_file.unlink(missing_ok=True)
    run.write_record(record)
    try:
        _run_steps(run, record, state, dataset, recipe, steps_total, check, stop, on_progress)
    finally:
        _keep_answers(state)
    check.end()
    if state.distiller is not None:
        record["selfcheck"] = check.record()
        record["teacher_caches"] = [cache and cache.record() for cache in state.distiller.caches]
    save_model(run.model_file, state.result())
    record.update(status="finished", steps=state.step, final_hash=weights_hash(state.result().network))
    run.write_record(record)
    checkpoint.remove(run.checkpoint_dir)
    return run


def _restore(
    run: RunDir, record: dict[str, Any], state: TrainState, check: SelfCheck, steps_total: int
) -> None:
    if checkpoint.exists(run.checkpoint_dir):
        beside = checkpoint.restore(run.checkpoint_dir, state)
        record["seconds"] = beside["seconds"]
        check.load_state_dict(beside["check"])
        notice(f"{run.path}: going on after step {state.step} of {steps_total}.")
    elif any(True for _ in run.log()):
        raise DataError(
            f"{run.checkpoint_dir}: the checkpoints are gone, so this run cannot go on; start anew with "
            "--overwrite"
        )
    cut(run, state.step)


def _run_steps(
    run: RunDir,
    record: dict[str, Any],
    state: TrainState,
    dataset: DetectionDataset,
    recipe: Recipe,
    steps_total: int,
    check: SelfCheck,
    stop: StopRequests,
    on_progress: Tick | None,
) -> None:
    device = pick_device(recipe.train.device)
    saved = began = time.monotonic()
    before = record["seconds"]

    def save() -> None:
        log.sync()
        _keep_answers(state)  # first: answers that are lost are computed again, in batches of other images
        beside = {"seconds": record["seconds"], "check": check.state_dict()}
        checkpoint.save(run.checkpoint_dir, state, beside)

    with LogFile(run.log_file) as log, stop.after_the_step():
        if state.step == 0:
            save()  # so that even the first seconds can be resumed
        work = steps(
            state,
            dataset,
            recipe.train,
            steps_total=steps_total,
            device=device,
            labels=recipe.labels,
            check=check,
        )
        for done in work:
            check.step(done.step, done.raw, done.pairs)
            log.write(asdict(done))
            record["seconds"] = before + time.monotonic() - began
            if on_progress is not None:
                on_progress(done.step, steps_total, _note(done))
            due = time.monotonic() - saved > recipe.train.checkpoint_seconds
            if due or stop.requested or done.step == steps_total:
                save()
                saved = time.monotonic()
            if stop.requested and done.step < steps_total:
                record.update(status="stopped", steps=state.step)
                run.write_record(record)
                raise InterruptedRunError(
                    f"{run.path}: stopped at step {state.step} of {steps_total}; {stop.how_to_go_on}"
                )


def _keep_answers(state: TrainState) -> None:
    """Put on disk what the teachers answered since the last time."""
    for cache in [] if state.distiller is None else state.distiller.caches:
        if cache is not None:
            cache.flush()


def _note(done: StepRecord) -> str:
    return f"loss {done.loss:.2f}  {done.images_per_s:.0f} img/s"
