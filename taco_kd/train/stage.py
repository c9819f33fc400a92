"""``train(recipe, data, out)``: one run from settings to a finished ``RunDir``."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from taco_kd.config import Recipe, validate
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.mixture import mixed_with_pseudo
from taco_kd.distill.recipe import Distiller
from taco_kd.environment import describe, pick_device
from taco_kd.errors import DataError, InterruptedRunError, UsageError
from taco_kd.files import replacing
from taco_kd.models.load_report import LoadReport
from taco_kd.models.settings import initial_student
from taco_kd.models.settings import teacher as load_teacher
from taco_kd.models.weights import save_model, weights_hash
from taco_kd.progress import Tick, notice
from taco_kd.runs import DataDir, RunDir, check_claim, claim
from taco_kd.train import checkpoint
from taco_kd.train.loop import StepRecord, TrainState, make_ema, steps
from taco_kd.train.optim import build_optimizer


def train(
    recipe: Recipe,
    data: DataDir,
    out: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    on_progress: Tick | None = None,
) -> RunDir:
    """Train the recipe's student on the train split of ``data``; with a teacher this is distillation.

    An identical finished run in ``out`` is returned as it is.

    Raises:
        UsageError: ``out`` holds something else, or the recipe cannot be built.
        DataError: the data or a checkpoint is damaged, or the data changed since the run began.
        MissingResourceError: weights are not on this machine, or less than 90 % of them arrived.
        InterruptedRunError: stopped by SIGINT or SIGTERM; a checkpoint was written.
    """
    run = RunDir(out)
    if run.record_file.is_file() and not overwrite:
        found = run.record()
        before = validate(Recipe, found["recipe"], where=str(run.record_file))
        same = before == recipe and found["data"]["content_hash"] == data.content_hash
        if before == recipe and found.get("pseudo") != (pseudo := _pseudo_record(recipe)):
            changed = pseudo or found["pseudo"]
            raise DataError(f"{out}: the pseudo-labels in {changed['path']} changed since; use --overwrite")
        if same and found.get("status") == "finished":
            return run
        resume = resume or same
        if resume and found["data"]["content_hash"] != data.content_hash:
            raise DataError(f"{out}: the data in {data.path} changed since this run began; it is not resumed")
        if resume and not same:
            raise UsageError(f"{out}: was begun with other settings; resume it without --set or --recipe")
    if not resume:
        check_claim(out, record_name="run.json", overwrite=overwrite, what="run")

    device = pick_device(recipe.train.device)
    torch.manual_seed(recipe.train.seed)
    dataset, state, reports = _build(recipe, data, device)
    steps_total = recipe.train.steps or max(1, recipe.train.epochs * _steps_per_epoch(dataset, recipe))
    record = _record(recipe, data, state, reports, steps_total)
    if not resume:  # only now, when every model was built: a mistake must not cost the run that was there
        claim(out, record_name="run.json", overwrite=overwrite, what="run")
    if resume and checkpoint.exists(run.checkpoint_dir):
        record["seconds"] = run.record().get("seconds", 0.0)
        checkpoint.restore(run.checkpoint_dir, state)
        _cut_log(run, state.step)
    else:
        run.log_file.unlink(missing_ok=True)
    run.write_record(record)
    _run_steps(run, record, state, dataset, recipe, steps_total, device, on_progress)
    save_model(run.model_file, state.result())
    record.update(status="finished", steps=state.step, final_hash=weights_hash(state.result().network))
    run.write_record(record)
    return run


def _build(
    recipe: Recipe, data: DataDir, device: torch.device
) -> tuple[DetectionDataset, TrainState, list[LoadReport]]:
    config = recipe.train
    student, reports = initial_student(recipe.student, data.class_names, seed=config.seed)
    distiller = None
    if recipe.teacher is not None and recipe.distill is not None:
        teacher, loaded = load_teacher(recipe.teacher)
        reports += loaded
        distiller = Distiller(recipe.distill, student, teacher.to(device))
        distiller.to(device)
    elif recipe.teacher is not None or recipe.distill is not None:
        raise UsageError(f"recipe {recipe.name}: [teacher] and [distill] go together; one of them is missing")
    for report in reports:
        notice(report.line())
    if distiller is not None and distiller.needs_predictions:
        notice(
            f"Classes: {len(distiller.classes.student)} of the student's {len(student.class_names)} have a "
            f"partner among the teacher's {len(distiller.teacher.class_names)}."
        )
    student.to(device)
    dataset = DetectionDataset(data, "train", student.image_size)
    if len(dataset) == 0:
        raise DataError(f"{data.path}: the train split holds no image")
    if recipe.pseudo is not None:
        dataset, _ = mixed_with_pseudo(dataset, recipe.pseudo.data, recipe.pseudo.weight)
    state = TrainState(
        student, distiller, build_optimizer(student, distiller, config), make_ema(student, config.ema_decay)
    )
    return dataset, state, reports


def _steps_per_epoch(dataset: DetectionDataset, recipe: Recipe) -> int:
    return max(1, dataset.epoch_images // min(recipe.train.batch_size, dataset.epoch_images))


def _record(
    recipe: Recipe, data: DataDir, state: TrainState, reports: list[LoadReport], steps_total: int
) -> dict[str, Any]:
    return {
        "format": 1,
        "status": "running",
        "kind": "train" if state.distiller is None else "distill",
        "recipe": recipe.model_dump(mode="json"),
        "data": {
            "path": str(data.path.resolve()),
            "content_hash": data.content_hash,
            "image_size": data.record()["image_size"],
        },
        "pseudo": _pseudo_record(recipe),
        "class_names": list(data.class_names),
        "class_pairs": None if state.distiller is None else state.distiller.class_pairs(),
        "init_hash": weights_hash(state.student.network),
        "teacher_hash": None if state.distiller is None else weights_hash(state.distiller.teacher.network),
        "loads": [asdict(report) for report in reports],
        "steps_total": steps_total,
        "steps": 0,
        "seconds": 0.0,
        "environment": describe(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _pseudo_record(recipe: Recipe) -> dict[str, Any] | None:
    """Which pseudo-labels are mixed in, so that a resumed run meets the same ones."""
    if recipe.pseudo is None:
        return None
    pseudo = DataDir.open(recipe.pseudo.data)
    return {"path": str(pseudo.path.resolve()), "content_hash": pseudo.content_hash}


def _run_steps(
    run: RunDir,
    record: dict[str, Any],
    state: TrainState,
    dataset: DetectionDataset,
    recipe: Recipe,
    steps_total: int,
    device: torch.device,
    on_progress: Tick | None,
) -> None:
    saved = began = time.monotonic()
    before = record["seconds"]
    with _stop_requests() as stop, run.log_file.open("a", buffering=1, encoding="utf-8") as log:
        if state.step == 0:
            checkpoint.save(run.checkpoint_dir, state)  # so that even the first seconds can be resumed
        for done in steps(state, dataset, recipe.train, steps_total=steps_total, device=device):
            log.write(json.dumps(asdict(done)) + "\n")
            record["seconds"] = before + time.monotonic() - began
            if on_progress is not None:
                on_progress(done.step, steps_total, _note(done))
            due = time.monotonic() - saved > recipe.train.checkpoint_seconds
            if due or stop.is_set() or done.step == steps_total:
                checkpoint.save(run.checkpoint_dir, state)
                saved = time.monotonic()
            if stop.is_set() and done.step < steps_total:
                record.update(status="stopped", steps=state.step)
                run.write_record(record)
                raise InterruptedRunError(
                    f"{run.path}: stopped at step {state.step} of {steps_total}; "
                    "the same command goes on from there"
                )


def _note(done: StepRecord) -> str:
    return f"loss {done.loss:.2f}  {done.images_per_s:.0f} img/s"


def _cut_log(run: RunDir, step: int) -> None:
    """Drop log lines of steps that were done after the checkpoint: they are done again."""
    kept = [line for line in run.log() if line["step"] <= step]
    with replacing(run.log_file) as aside:
        aside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """Turns SIGINT and SIGTERM into a flag for the duration of a block: the step in work is finished."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach only the main thread
        return
    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
