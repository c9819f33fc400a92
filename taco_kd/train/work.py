"""The steps of a run and what is written while they are done: log, checkpoints, record, result."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict
from threading import Event
from typing import Any

from taco_kd.config import Recipe
from taco_kd.data.dataset import DetectionDataset
from taco_kd.environment import pick_device
from taco_kd.errors import InterruptedRunError
from taco_kd.files import replacing
from taco_kd.models.weights import weights_hash
from taco_kd.progress import Tick
from taco_kd.runs import DataDir, RunDir
from taco_kd.train import checkpoint
from taco_kd.train.build import steps_of_an_epoch
from taco_kd.train.choosing import Chooser, chooser_of
from taco_kd.train.loop import StepRecord, TrainState, steps
from taco_kd.train.observers import Observers
from taco_kd.train.selfcheck import SelfCheck, check_of
from taco_kd.train.liveness import this_process
from taco_kd.train.stopping import stop_requests

NOBODY = Observers()


def go_on(
    run: RunDir,
    record: dict[str, Any],
    state: TrainState,
    dataset: DetectionDataset,
    recipe: Recipe,
    steps_total: int,
    resume: bool,
    on_progress: Tick | None,
    observers: Observers = NOBODY,
) -> RunDir:
    """From the start or the last checkpoint to the end."""
    chooser = chooser_of(
        run, recipe.train, DataDir(dataset.data.path), steps_per_epoch=steps_of_an_epoch(recipe.train, dataset)
    )
    if resume and checkpoint.exists(run.checkpoint_dir):
        record["seconds"] = run.record().get("seconds", 0.0)
        checkpoint.restore(run.checkpoint_dir, state)
        _cut_log(run, state.step)
    else:
        run.log_file.unlink(missing_ok=True)
    chooser.begin(state.step)
    record.update(chooser.record(), process=this_process())
    run.write_record(record)
    observers.begin(run, record, state.step, steps_total)
    check = check_of(state.distiller, state.optimizer)
    try:
        _run_steps(run, record, state, dataset, recipe, steps_total, check, on_progress, chooser, observers)
    finally:
        _keep_answers(state)
    check.end()
    if state.distiller is not None:
        record["selfcheck"] = check.record()
        record["teacher_caches"] = [cache and cache.record() for cache in state.distiller.caches]
    best = chooser.deliver(state.result())
    record.update(chooser.record())
    record.update(
        status="finished",
        steps=state.step,
        delivered_step=best.step if best else state.step,
        final_hash=best.weights_hash if best else weights_hash(state.result().network),
    )
    del record["process"]
    run.write_record(record)
    chooser.clean()
    return run


def _run_steps(
    run: RunDir,
    record: dict[str, Any],
    state: TrainState,
    dataset: DetectionDataset,
    recipe: Recipe,
    steps_total: int,
    check: SelfCheck,
    on_progress: Tick | None,
    chooser: Chooser,
    observers: Observers,
) -> None:
    device = pick_device(recipe.train.device)
    saved = began = time.monotonic()
    before = record["seconds"]
    with stop_requests() as stop, run.log_file.open("a", buffering=1, encoding="utf-8") as log:
        if state.step == 0:
            checkpoint.save(run.checkpoint_dir, state)  # so that even the first seconds can be resumed
        # Killed between a checkpoint and the evaluation that was due: it is made up for.
        _evaluate_if_due(state, steps_total, chooser, observers, on_progress, stop)
        if chooser.ends():
            return
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
            log.write(json.dumps(asdict(done)) + "\n")
            record["seconds"] = before + time.monotonic() - began
            if on_progress is not None:
                on_progress(done.step, steps_total, _note(done))
            observers.on_step(done)
            _evaluate_if_due(state, steps_total, chooser, observers, on_progress, stop)
            due = time.monotonic() - saved > recipe.train.checkpoint_seconds
            if due or stop.is_set() or done.step == steps_total or chooser.ends():
                checkpoint.save(run.checkpoint_dir, state)
                chooser.saved()
                _keep_answers(state)
                saved = time.monotonic()
            if chooser.ends():
                return
            if stop.is_set() and done.step < steps_total:
                record.update(status="stopped", steps=state.step)
                run.write_record(record)
                raise InterruptedRunError(
                    f"{run.path}: stopped at step {state.step} of {steps_total}; "
                    "the same command goes on from there"
                )


class _StoppedError(Exception):
    """An evaluation that was broken off; it is made when the run goes on."""


def _evaluate_if_due(
    state: TrainState,
    steps_total: int,
    chooser: Chooser,
    observers: Observers,
    on_progress: Tick | None,
    stop: Event,
) -> None:
    if not chooser.due(state.step, steps_total) or (stop.is_set() and state.step < steps_total):
        return

    def tick(done: int, total: int, note: str = "") -> None:
        if stop.is_set() and state.step < steps_total:
            raise _StoppedError
        if on_progress is not None:
            on_progress(state.step, steps_total, f"evaluating {done}/{total}")

    with contextlib.suppress(_StoppedError):
        observers.on_evaluated(chooser.evaluate(state.result(), state.step, tick))


def _keep_answers(state: TrainState) -> None:
    """Put on disk what the teachers answered since the last time."""
    for cache in [] if state.distiller is None else state.distiller.caches:
        if cache is not None:
            cache.flush()


def _note(done: StepRecord) -> str:
    return f"loss {done.loss:.2f}  {done.images_per_s:.0f} img/s"


def _cut_log(run: RunDir, step: int) -> None:
    """Drop log lines of steps that were done after the checkpoint: they are done again."""
    kept = [line for line in run.log() if line["step"] <= step]
    with replacing(run.log_file) as aside:
        aside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
