"""The steps of a run and what is written while they are done: log, checkpoints, record, result."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

from taco_kd.config import Recipe
from taco_kd.data.dataset import DetectionDataset
from taco_kd.errors import DataError, InterruptedRunError
from taco_kd.models.weights import weights_hash
from taco_kd.progress import notice, warn
from taco_kd.runs import RunDir
from taco_kd.train import checkpoint
from taco_kd.train.choice import chooser_of, evaluate_if_due
from taco_kd.train.choosing import Chooser
from taco_kd.train.liveness import this_process
from taco_kd.train.log_file import LogFile, cut
from taco_kd.train.loop import StepRecord, steps
from taco_kd.train.processes import LostProcessError
from taco_kd.train.selfcheck import SelfCheck, check_of
from taco_kd.train.session import Session
from taco_kd.train.state import TrainState


def go_on(
    run: RunDir,
    record: dict[str, Any],
    state: TrainState,
    dataset: DetectionDataset,
    recipe: Recipe,
    steps_total: int,
    resume: bool,
    session: Session,
) -> RunDir:
    """From the start or the last checkpoint to the end. The first process alone writes."""
    check = check_of(state.distiller, state.optimizer)
    chooser = chooser_of(run, recipe.train, dataset, decide=session.decide)
    if session.first:
        run.sweep()
    if resume:
        _restore(run, record, state, check, steps_total, session)
    elif session.first:
        run.log_file.unlink(missing_ok=True)
    chooser.begin(state.step)
    if session.first:
        record.update(chooser.record(), process=this_process())
        run.write_record(record)
        session.observers.begin(run, record, state.step, steps_total)
    try:
        _run_steps(run, record, state, dataset, recipe, steps_total, check, session, chooser)
    finally:
        _keep_answers(state)
    check.end()
    if session.first:
        _finish(run, record, state, check, chooser)
    session.processes.wait()
    return run


def _finish(
    run: RunDir, record: dict[str, Any], state: TrainState, check: SelfCheck, chooser: Chooser
) -> None:
    if state.distiller is not None:
        record["selfcheck"] = check.record()
        record["teacher_caches"] = [cache and cache.record() for cache in state.distiller.caches]
    best = chooser.deliver(state.result())
    record.update(chooser.record())
    record.update(
        status="finished",
        steps=state.step,
        skipped=state.skipped,
        delivered_step=best.step if best else state.step,
        final_hash=best.weights_hash if best else weights_hash(state.result().network),
    )
    del record["process"]
    run.write_record(record)
    checkpoint.clear(run)


def _restore(
    run: RunDir,
    record: dict[str, Any],
    state: TrainState,
    check: SelfCheck,
    steps_total: int,
    session: Session,
) -> None:
    if checkpoint.exists(run.checkpoint_dir):
        beside = checkpoint.restore(run.checkpoint_dir, state)
        record["seconds"], record["quarantined"] = beside["seconds"], beside["quarantined"]
        check.load_state_dict(beside["check"])
        notice(f"{run.path}: going on after step {state.step} of {steps_total}.")
    elif any(True for _ in run.log()):
        raise DataError(
            f"{run.checkpoint_dir}: the checkpoints are gone, so this run cannot go on; start anew with "
            "--overwrite"
        )
    session.processes.require_same("the step of the checkpoint", str(state.step))
    if session.first:
        cut(run, state.step)


def _run_steps(
    run: RunDir,
    record: dict[str, Any],
    state: TrainState,
    dataset: DetectionDataset,
    recipe: Recipe,
    steps_total: int,
    check: SelfCheck,
    session: Session,
    chooser: Chooser,
) -> None:
    saved = began = time.monotonic()
    before = record["seconds"]
    stop = session.stop

    def save() -> None:
        _keep_answers(state)  # first: answers that are lost are computed again, in batches of other images
        if log is not None:
            log.sync()
            beside = {
                "seconds": record["seconds"],
                "quarantined": record["quarantined"],
                "check": check.state_dict(),
            }
            checkpoint.save(run.checkpoint_dir, state, beside)
        chooser.saved(state.step)

    with _log(run, session) as log, stop.after_the_step():
        if state.step == 0:
            save()  # so that even the first seconds can be resumed
        # Killed between a checkpoint and the evaluation that was due then: it is made up for.
        stopped = not evaluate_if_due(chooser, state, steps_total, session)
        work = steps(
            state,
            dataset,
            recipe.train,
            steps_total=steps_total,
            device=session.processes.device,
            labels=recipe.labels,
            check=check,
            processes=session.processes,
            stopping=lambda: stop.requested,
            trouble=run.trouble_dir,
        )
        try:
            for done in () if stopped or chooser.ends() else work:
                if not done.skipped:
                    check.step(done.step, done.raw, done.pairs)
                _tell_quarantined(record, done)
                if log is not None:
                    log.write(asdict(done))
                record["seconds"] = before + time.monotonic() - began
                session.tick(done.step, steps_total, _note(done))
                if session.first:
                    session.observers.on_step(done)
                stopped = not evaluate_if_due(chooser, state, steps_total, session)
                last = stopped or chooser.ends() or done.step == steps_total
                if time.monotonic() - saved > recipe.train.checkpoint_seconds or last:
                    save()
                    saved = time.monotonic()
                if last:
                    break
        except LostProcessError as error:
            save()  # weights and optimiser are those after the last whole step
            words = f"{run.path}: {error} after step {state.step} of {steps_total}; {stop.how_to_go_on}"
            lost = LostProcessError(words)
            lost.silent = error.silent
            raise lost from None
        if stopped or (state.step < steps_total and not chooser.ends()):  # all processes were asked to stop
            save()
            record.update(status="stopped", steps=state.step)
            if session.first:
                run.write_record(record)
            raise InterruptedRunError(
                f"{run.path}: stopped at step {state.step} of {steps_total}; {stop.how_to_go_on}"
            )


def _log(run: RunDir, session: Session) -> AbstractContextManager[LogFile | None]:
    return LogFile(run.log_file) if session.first else nullcontext()


def _tell_quarantined(record: dict[str, Any], done: StepRecord) -> None:
    """Note the images that could not be read, and say so once of each."""
    for file in done.quarantined:
        if file not in record["quarantined"]:
            record["quarantined"].append(file)
            warn(f"{file}: missing or damaged since the dataset was prepared; another image takes its place")


def _keep_answers(state: TrainState) -> None:
    """Put on disk what the teachers answered since the last time."""
    for cache in [] if state.distiller is None else state.distiller.caches:
        if cache is not None:
            cache.flush()


def _note(done: StepRecord) -> str:
    loss = "not finite" if done.loss is None else f"{done.loss:.2f}"
    return f"loss {loss}  {done.images_per_s:.0f} img/s"
