"""``train(recipe, data, out)``: one run from settings to a finished ``RunDir``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from taco_kd.config import Recipe
from taco_kd.data.batches import check_stop
from taco_kd.data.dataset import DetectionDataset
from taco_kd.environment import pick_device
from taco_kd.errors import DataError
from taco_kd.models.weights import weights_hash
from taco_kd.progress import Tick
from taco_kd.runs import PRETRAIN, DataDir, RunDir
from taco_kd.train import checkpoint
from taco_kd.train.beginning import begin, look, take_folder
from taco_kd.train.build import images_of, steps_of
from taco_kd.train.determinism import deterministic
from taco_kd.train.folder_lock import held
from taco_kd.train.observers import Observer, Observers
from taco_kd.train.processes import LostProcessError, open_processes
from taco_kd.train.session import Session
from taco_kd.train.state import TrainState
from taco_kd.train.stopping import StopRequests
from taco_kd.train.work import go_on

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
        seen = look(recipe, data, run, overwrite, resume)
    finished, overwrite, resume = session.processes.tell(seen)
    if finished:
        return run
    if recipe.pretrain is not None:
        return _two_stages(recipe, data, run, overwrite, resume, session)
    dataset, state, steps_total, record = begin(recipe, recipe, data, session)
    with held(run.path, session.processes):
        if not resume:  # only now, when every model was built: a mistake must not cost the run that was there
            take_folder(run, record, overwrite, session)
        return go_on(run, record, state, dataset, recipe, steps_total, resume, session)


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
    begun = None if resume else begin(first_recipe, first_recipe, data, alone_session)
    with held(run.path, session.processes):
        if begun is None:
            _train(first_recipe, data, first.path, False, False, alone_session)
        else:  # only now, when every model was built: a mistake must not cost the run that was there
            dataset, state, steps_total, record = begun
            whole = {**record, "recipe": recipe.model_dump(mode="json"), "steps_total": after}
            take_folder(run, whole, overwrite, session)
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
    dataset, state, steps_total, record = begin(second, recipe, data, replace(session, on_progress=None))
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
