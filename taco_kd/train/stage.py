"""``train(recipe, data, out)``: one run from settings to a finished ``RunDir``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from taco_kd.config import Recipe, validate
from taco_kd.data.batches import check_stop
from taco_kd.data.dataset import DetectionDataset
from taco_kd.environment import pick_device
from taco_kd.errors import DataError, UsageError
from taco_kd.files import sha256_json
from taco_kd.models.load_report import LoadReport
from taco_kd.models.weights import weights_hash
from taco_kd.progress import Tick
from taco_kd.runs import BEGINNING, PRETRAIN, DataDir, RunDir, check_claim
from taco_kd.train import checkpoint
from taco_kd.train.build import build, images_of, steps_of
from taco_kd.train.caching import open_caches
from taco_kd.train.determinism import deterministic
from taco_kd.train.gate import pass_gate
from taco_kd.train.observers import Observer, Observers
from taco_kd.train.processes import LostProcessError, Processes, open_processes
from taco_kd.train.record import begun
from taco_kd.train.session import Session
from taco_kd.train.state import TrainState
from taco_kd.train.stopping import StopRequests
from taco_kd.train.vendor.arguments import OWN
from taco_kd.train.work import go_on, held

COMMON = ("seed", "device", "checkpoint_seconds", "deterministic", "hold_out", "workers")
"""Settings that the first stage takes from the second: one run has one seed, and what is put aside is put
aside from both stages."""


def train(
    recipe: Recipe,
    data: DataDir,
    out: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    on_progress: Tick | None = None,
    observers: Sequence[Observer] = (),
) -> RunDir:
    """Train the recipe's student on the train split of ``data``; with a teacher this is distillation.

    An identical finished run in ``out`` is returned as it is. A recipe with a ``pretrain`` stage makes that
    stage a run of its own in ``out/pretrain`` and goes on from its weights.

    Args:
        observers: are told of every step by the first process; whoever made them closes them.

    Raises:
        UsageError: ``out`` holds something else, or the recipe cannot be built.
        DataError: the data or a checkpoint is damaged, or the data changed since the run began.
        MissingResourceError: weights are not on this machine, or less than 90 % of them arrived.
        GateError: a teacher is not better than the student, and its lesson's gate is strict.
        InterruptedRunError: stopped by SIGINT or SIGTERM: after a step, with a checkpoint, or at once.
        DiskFullError: no room; what was there before is whole, and the same call goes on from it.
    """
    command = "train" if recipe.teacher is None else "distill"
    with (
        StopRequests(f"the same command goes on, or taco-kd {command} --resume {out}") as stop,
        deterministic(recipe.train.deterministic),
    ):
        processes = open_processes(pick_device(recipe.train.device))
        session = Session(processes, stop, on_progress, Observers(observers))
        try:
            return _train(recipe, data, out, overwrite, resume, session)
        except LostProcessError:
            raise
        except Exception:
            processes.failed()
            raise


def _train(
    recipe: Recipe, data: DataDir, out: Path, overwrite: bool, resume: bool, session: Session
) -> RunDir:
    run, seen = RunDir(out), None
    if session.first:
        seen = _look(recipe, data, run, overwrite, resume)
    finished, overwrite, resume = session.processes.tell(seen)
    if finished:
        return run
    if recipe.pretrain is not None:
        return _two_stages(recipe, data, run, overwrite, resume, session)
    dataset, state, steps_total, record = _begin(recipe, recipe, data, session)
    with held(run.path, session.processes):
        if not resume:  # only now, when every model was built: a mistake must not cost the run that was there
            _claim(run, record, overwrite, session)
        return go_on(run, record, state, dataset, recipe, steps_total, resume, session)


def _look(
    recipe: Recipe, data: DataDir, run: RunDir, overwrite: bool, resume: bool
) -> tuple[bool, bool, bool]:
    """Whether this very run is finished; and if not, whether to overwrite and to resume what is there."""
    out = run.path
    if run.record_file.is_file() and not overwrite:
        found = run.record()
        if found.get("engine", OWN) != OWN:
            raise UsageError(
                f"{out}: holds a run of Ultralytics' trainer; add --engine ultralytics, choose another --out "
                "or add --overwrite"
            )
        before = validate(Recipe, found["recipe"], where=str(run.record_file))
        same = before == recipe and found["data"]["content_hash"] == data.content_hash
        if before == recipe and found.get("pseudo") != (pseudo := _pseudo_record(recipe)):
            changed = pseudo or found["pseudo"]
            raise DataError(f"{out}: the pseudo-labels in {changed['path']} changed since; use --overwrite")
        if same and found.get("status") == "finished":
            run.sweep()
            checkpoint.remove(run.checkpoint_dir)
            return True, overwrite, resume
        resume = resume or same
        if resume and found["data"]["content_hash"] != data.content_hash:
            raise DataError(f"{out}: the data in {data.path} changed since this run began; it is not resumed")
        if resume and not same:
            raise UsageError(f"{out}: was begun with other settings; resume it without --set or --recipe")
        if resume and found.get("status") == BEGINNING:
            resume, overwrite = False, True
    if not resume:
        _check_claim(run, overwrite)
    return False, overwrite, resume


def _check_claim(run: RunDir, overwrite: bool) -> None:
    check_claim(run.path, record_name="run.json", overwrite=overwrite, what="run")


def _claim(run: RunDir, record: dict[str, Any], overwrite: bool, session: Session) -> None:
    if session.first:
        _check_claim(run, overwrite)
        run.begin(record)
    session.processes.wait()


def _two_stages(
    recipe: Recipe, data: DataDir, run: RunDir, overwrite: bool, resume: bool, session: Session
) -> RunDir:
    """The teachers alone in ``pretrain``, then the labels alone, from the weights the first stage left."""
    assert recipe.pretrain is not None
    config = recipe.pretrain.model_copy(update={k: getattr(recipe.train, k) for k in COMMON})
    if config.hold_out:  # not evaluated: it may train no class head at all
        config = config.model_copy(update={"evaluate_every": "never"})
    alone = {"name": f"{recipe.name}-{PRETRAIN}", "train": config, "pretrain": None, "labels": False}
    first_recipe = recipe.model_copy(update=alone)
    images = images_of(recipe.train, data)
    before, after = (steps_of(each, images) for each in (config, recipe.train))
    for each, count in ((config, before), (recipe.train, after)):
        check_stop(each, images, count)  # of the second stage too, before the first
    first, alone_session = run.pretrain, session.part(0, before + after)
    begun = None if resume else _begin(first_recipe, first_recipe, data, alone_session)
    with held(run.path, session.processes):
        if begun is None:
            _train(first_recipe, data, first.path, False, False, alone_session)
        else:  # only now, when every model was built: a mistake must not cost the run that was there
            dataset, state, steps_total, record = begun
            whole = {**record, "recipe": recipe.model_dump(mode="json"), "steps_total": after}
            _claim(run, whole, overwrite, session)
            go_on(first, record, state, dataset, first_recipe, steps_total, False, alone_session)
        second, state, dataset, steps_total, record = _second_stage(recipe, data, run, first, session)
        last = session.part(before, before + after)
        return go_on(run, record, state, dataset, second, steps_total, True, last)


def _second_stage(
    recipe: Recipe, data: DataDir, run: RunDir, first: RunDir, session: Session
) -> tuple[Recipe, TrainState, DetectionDataset, int, dict[str, Any]]:
    """Recipe, state, data, steps and record of the second stage, from what the first one left."""
    weights = {"weights": str(first.path), "backbone_from": None}
    second = recipe.model_copy(update={"student": recipe.student.model_copy(update=weights)})
    dataset, state, steps_total, record = _begin(second, recipe, data, replace(session, on_progress=None))
    done = first.record()
    record |= {key: done[key] for key in ("init_hash", "teacher_hash", "teacher_hashes", "class_pairs")}
    record["loads"] = [*done["loads"], *record["loads"]]
    record |= {key: done[key] for key in ("gate", "selfcheck", "teacher_caches")}
    record["pretrain"] = {key: done[key] for key in ("steps", "seconds", "final_hash")}
    if not checkpoint.exists(run.checkpoint_dir):
        arrived = weights_hash(state.student.network)
        if arrived != done["final_hash"]:
            raise DataError(f"{first.path}: its weights did not arrive in the second stage unchanged")
    record["kind"] = "distill"
    record["seconds"] = done["seconds"]
    return second, state, dataset, steps_total, record


def _begin(
    recipe: Recipe, asked: Recipe, data: DataDir, session: Session
) -> tuple[DetectionDataset, TrainState, int, dict[str, Any]]:
    """Everything built for ``recipe``, a stage of the run that was ``asked`` for, and the run's record."""
    device = session.processes.device
    torch.manual_seed(recipe.train.seed)
    dataset, state, reports = build(recipe, data, device)
    images = min(recipe.train.batch_size, len(dataset))
    if images < session.processes.world:
        raise UsageError(
            f"a batch of {images} images (train.batch_size) is too small for {session.processes.world} "
            "processes: each needs one"
        )
    steps_total = steps_of(recipe.train, dataset.epoch_images)
    record = _record(asked, data, state, reports, steps_total)
    _require_same_start(record, session.processes)
    if state.distiller is not None:
        answers = None
        if session.first:
            answers = pass_gate(state.student, state.distiller, data, device, session.on_progress)
        record["gate"] = session.processes.tell(answers)
        open_caches(state.distiller, data, dataset, recipe.train, steps_total=steps_total, device=device)
    return dataset, state, steps_total, record


def _require_same_start(record: dict[str, Any], processes: Processes) -> None:
    """All processes train one model with the same settings on the same data."""
    processes.require_same("the recipe", sha256_json(record["recipe"])[:12])
    processes.require_same("the dataset", record["data"]["content_hash"][:12])
    for what in ("init_hash", "teacher_hashes"):
        processes.require_same(what, str(record[what]))
    record["processes"] = processes.world


def _record(
    recipe: Recipe, data: DataDir, state: TrainState, reports: list[LoadReport], steps_total: int
) -> dict[str, Any]:
    lessons = [] if state.distiller is None else state.distiller.each()
    hashes = [weights_hash(lesson.teacher.network) for lesson in lessons]
    return {
        **begun(recipe, data, state.student, reports, steps_total=steps_total),
        "kind": "train" if state.distiller is None else "distill",
        "pseudo": _pseudo_record(recipe),
        "class_pairs": lessons[0].class_pairs() if lessons else None,
        "teacher_hash": hashes[0] if hashes else None,
        "teacher_hashes": hashes,
        "quarantined": [],
    }


def _pseudo_record(recipe: Recipe) -> dict[str, Any] | None:
    """Which pseudo-labels are mixed in, so that a resumed run meets the same ones."""
    if recipe.pseudo is None:
        return None
    pseudo = DataDir.open(recipe.pseudo.data)
    return {"path": str(pseudo.path.resolve()), "content_hash": pseudo.content_hash}
