"""The steps of a run and what is written while they are done: log, checkpoints, record, result."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from taco_kd.config import Recipe
from taco_kd.data.dataset import DetectionDataset
from taco_kd.errors import InterruptedRunError
from taco_kd.files import replacing
from taco_kd.models.weights import save_model, weights_hash
from taco_kd.progress import Tick
from taco_kd.runs import RunDir
from taco_kd.train import checkpoint
from taco_kd.train.loop import StepRecord, steps
from taco_kd.train.processes import LostProcessError, Processes
from taco_kd.train.selfcheck import SelfCheck, check_of
from taco_kd.train.state import TrainState
from taco_kd.train.stopping import stop_requests


def go_on(
    run: RunDir,
    record: dict[str, Any],
    state: TrainState,
    dataset: DetectionDataset,
    recipe: Recipe,
    steps_total: int,
    resume: bool,
    processes: Processes,
    on_progress: Tick | None,
) -> RunDir:
    """From the start or the last checkpoint to the end. The first process alone writes."""
    if resume and checkpoint.exists(run.checkpoint_dir):
        record["seconds"] = run.record().get("seconds", 0.0)
        checkpoint.restore(run.checkpoint_dir, state)
        processes.require_same("the step of the checkpoint", str(state.step))
        if processes.first:
            _cut_log(run, state.step)
    elif processes.first:
        run.log_file.unlink(missing_ok=True)
    if processes.first:
        run.write_record(record)
    check = check_of(state.distiller, state.optimizer)
    try:
        _run_steps(run, record, state, dataset, recipe, steps_total, check, processes, on_progress)
    except LostProcessError as error:
        if processes.first:
            checkpoint.save(run.checkpoint_dir, state)  # weights and optimiser are those of the last step
        again = f"the same command goes on from step {state.step}"
        raise LostProcessError(f"{run.path}: {error}; {again}") from None
    finally:
        _keep_answers(state)
    check.end()
    if processes.first:
        if state.distiller is not None:
            record["selfcheck"] = check.record()
            record["teacher_caches"] = [cache and cache.record() for cache in state.distiller.caches]
        save_model(run.model_file, state.result())
        record.update(
            status="finished",
            steps=state.step,
            skipped=state.skipped,
            final_hash=weights_hash(state.result().network),
        )
        run.write_record(record)
    processes.wait()
    return run


def _run_steps(
    run: RunDir,
    record: dict[str, Any],
    state: TrainState,
    dataset: DetectionDataset,
    recipe: Recipe,
    steps_total: int,
    check: SelfCheck,
    processes: Processes,
    on_progress: Tick | None,
) -> None:
    saved = began = time.monotonic()
    before = record["seconds"]
    with stop_requests() as stop, _log(run, processes) as log:
        if state.step == 0 and processes.first:
            checkpoint.save(run.checkpoint_dir, state)  # so that even the first seconds can be resumed
        work = steps(
            state,
            dataset,
            recipe.train,
            steps_total=steps_total,
            device=processes.device,
            labels=recipe.labels,
            check=check,
            processes=processes,
            stopping=stop.is_set,
            trouble=run.trouble_dir,
        )
        for done in work:
            if not done.skipped:
                check.step(done.step, done.raw, done.pairs)
            log.write(json.dumps(asdict(done)) + "\n")
            record["seconds"] = before + time.monotonic() - began
            if on_progress is not None:
                on_progress(done.step, steps_total, _note(done))
            due = time.monotonic() - saved > recipe.train.checkpoint_seconds
            if due or done.step == steps_total:
                _save(run, state, processes)
                saved = time.monotonic()
    if state.step < steps_total:  # asked to stop
        _save(run, state, processes)
        record.update(status="stopped", steps=state.step)
        if processes.first:
            run.write_record(record)
        raise InterruptedRunError(
            f"{run.path}: stopped at step {state.step} of {steps_total}; the same command goes on from there"
        )


def _log(run: RunDir, processes: Processes) -> TextIO:
    path = run.log_file if processes.first else Path(os.devnull)
    return path.open("a", buffering=1, encoding="utf-8")


def _save(run: RunDir, state: TrainState, processes: Processes) -> None:
    if processes.first:
        checkpoint.save(run.checkpoint_dir, state)
    _keep_answers(state)


def _keep_answers(state: TrainState) -> None:
    """Put on disk what the teachers answered since the last time."""
    for cache in [] if state.distiller is None else state.distiller.caches:
        if cache is not None:
            cache.flush()


def _note(done: StepRecord) -> str:
    loss = "not finite" if done.loss is None else f"{done.loss:.2f}"
    return f"loss {loss}  {done.images_per_s:.0f} img/s"


def _cut_log(run: RunDir, step: int) -> None:
    """Drop log lines of steps that were done after the checkpoint: they are done again."""
    kept = [line for line in run.log() if line["step"] <= step]
    with replacing(run.log_file) as aside:
        aside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
