"""``train_with_ultralytics(recipe, data, out)``: the vendor's trainer, and then an ordinary run folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from taco_kd.config import Recipe, validate
from taco_kd.environment import pick_device
from taco_kd.errors import DataError, InterruptedRunError, UsageError
from taco_kd.models.detector import Detector
from taco_kd.models.inert_pickle import read_pickled_model
from taco_kd.models.load_report import LoadReport
from taco_kd.models.settings import initial_student
from taco_kd.models.weights import save_model, weights_hash
from taco_kd.progress import Tick, notice
from taco_kd.runs import BEGINNING, DataDir, RunDir, Split
from taco_kd.train.choice import trained_on, warn_of_val
from taco_kd.train.choosing import chooses
from taco_kd.train.folder_lock import held
from taco_kd.train.liveness import this_process
from taco_kd.train.observers import Observer, Observers
from taco_kd.train.processes import Processes
from taco_kd.train.record import begun
from taco_kd.train.stopping import StopRequests
from taco_kd.train.vendor.arguments import NAME, OWN, Plan, plan, require_possible
from taco_kd.train.vendor.child import RESUME
from taco_kd.train.vendor.folder import write_data
from taco_kd.train.vendor.following import follow

_NAMES = {"rtdetr-hgnetv2-l": "rtdetr-l", "rtdetr-hgnetv2-x": "rtdetr-x"}
"""What Ultralytics calls a model, where that is something else."""


def train_with_ultralytics(
    recipe: Recipe,
    data: DataDir,
    out: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    on_progress: Tick | None = None,
    observers: Sequence[Observer] = (),
) -> RunDir:
    """Train the recipe's student with Ultralytics' own trainer, from the weights our loop would start from.

    A run that was stopped or killed goes on after its last whole epoch (the order of images is drawn anew, so
    that it is not the same run to the bit). All that the trainer writes lies in ``ultralytics`` in the run
    folder.

    Raises:
        UsageError: the recipe cannot be trained like this, or ``out`` holds something else.
        DataError: the data or what was saved is damaged, or the data changed since the run began.
        MissingResourceError: weights are not on this machine.
        InterruptedRunError: stopped by SIGINT or SIGTERM; whole epochs are kept.
        TacoKDError: the trainer failed.
    """
    require_possible(recipe)
    run = RunDir(out)
    finished, resume = _look(recipe, data, run, overwrite, resume)
    if finished:
        return run
    device = pick_device(recipe.train.device)
    torch.manual_seed(recipe.train.seed)
    student, reports = initial_student(recipe.student, data.class_names, seed=recipe.train.seed)
    require_possible(recipe, student)
    for report in reports:
        notice(report.line())
    warn_of_val(recipe.train)
    train, aside = trained_on(data, recipe.train)
    images = len(train.coco("train")["images"])
    planned = plan(recipe, student, images, str(device))
    notice(f"Ultralytics' trainer: {'; '.join(planned.untold)}.")
    how = f"the same command goes on after the last whole epoch, or taco-kd train --resume {out}"
    with held(run.path, Processes(device)), StopRequests(how) as stop:
        record = _record(recipe, data, student, reports, planned)
        if not resume:
            run.begin(record)
        look: tuple[DataDir, Split] | None = None
        if planned.arguments["val"]:
            look = (data, "val") if recipe.train.choose_on == "val" else (aside or data, "train")
        job = _job(run, recipe, student, planned, data, train, look)
        followed = follow(run, record, job, planned, stop, on_progress, Observers(observers), look)
        if not followed:
            raise InterruptedRunError(
                f"{run.path}: stopped in epoch {record['epochs'] + 1} of {planned.epochs}; {how}"
            )
        _finish(run, record, recipe, student)
    return run


def _look(recipe: Recipe, data: DataDir, run: RunDir, overwrite: bool, resume: bool) -> tuple[bool, bool]:
    """Whether this very run is finished; and if not, whether to resume it."""
    out = run.path
    if not run.record_file.is_file() or overwrite:
        run.check_claim(overwrite)
        return False, False
    found = run.record()
    if found.get("engine", OWN) != NAME:
        raise UsageError(f"{out}: holds a run of taco-kd's own loop; choose another --out or add --overwrite")
    same = validate(Recipe, found["recipe"], where=str(run.record_file)) == recipe
    if not same:
        what = "resume it without --set or --recipe" if resume else "choose another --out or add --overwrite"
        raise UsageError(f"{out}: holds a run with other settings; {what}")
    if found["data"]["content_hash"] != data.content_hash:
        raise DataError(f"{out}: the data in {data.path} changed since this run began; it is not resumed")
    begun = found.get("status") != BEGINNING and (run.vendor_dir / RESUME).is_file()
    return found.get("status") == "finished", begun


def _job(
    run: RunDir,
    recipe: Recipe,
    student: Detector,
    planned: Plan,
    data: DataDir,
    train: DataDir,
    look: tuple[DataDir, Split] | None,
) -> dict[str, Any]:
    folder = run.vendor_dir.resolve()
    initial = folder / "initial.safetensors"
    if not initial.is_file():
        save_model(initial, student)
    file = write_data(folder / "data", data, train, look)
    return {
        "family": student.family,
        "model": _NAMES.get(student.model_name, student.model_name),
        "initial": str(initial),
        "data": str(file),
        "folder": str(folder),
        "arguments": {**planned.arguments, "project": str(folder), "name": "train"},
        "warmup_steps": planned.warmup_steps,
        "resume": (folder / RESUME).is_file(),
    }


def _finish(run: RunDir, record: dict[str, Any], recipe: Recipe, student: Detector) -> None:
    """The trainer's result as a model of ours, read without running what its file brings along."""
    weights = run.vendor_dir / "train" / "weights"
    best = recipe.train.keep == "best"
    file = weights / ("best.pt" if best else "last.pt")
    student.network.load_state_dict(read_pickled_model(file).state)
    save_model(run.model_file, student)
    looked = record["evaluations"]
    record.update(
        status="finished",
        final_hash=weights_hash(student.network),
        delivered_step=looked["best_step"] if best else record["steps"],
    )
    del record["process"]
    run.write_record(record)
    for name in (RESUME, "initial.safetensors"):
        (run.vendor_dir / name).unlink(missing_ok=True)
    shutil.rmtree(run.vendor_dir / "data", ignore_errors=True)  # links alone; the dataset stays


def _record(
    recipe: Recipe, data: DataDir, student: Detector, reports: list[LoadReport], planned: Plan
) -> dict[str, Any]:
    config = recipe.train
    return {
        **begun(recipe, data, student, reports, steps_total=planned.steps_total),
        "engine": NAME,
        "engine_version": metadata.version(NAME),
        "engine_arguments": planned.arguments,
        "engine_differs": list(planned.untold),
        "chosen_on": config.choose_on if chooses(config) else None,
        "stopped_early": False,
        "epochs": 0,
        "process": this_process(),
    }
