"""Before the first step of a run: what is in its folder already, what it is built of, its record."""

from __future__ import annotations

from typing import Any

import torch

from taco_kd.config import Recipe, validate
from taco_kd.data.dataset import DetectionDataset
from taco_kd.errors import DataError, UsageError
from taco_kd.files import sha256_json
from taco_kd.models.load_report import LoadReport
from taco_kd.models.weights import weights_hash
from taco_kd.runs import BEGINNING, DataDir, RunDir
from taco_kd.train import checkpoint
from taco_kd.train.build import build, steps_of
from taco_kd.train.caching import open_caches
from taco_kd.train.gate import pass_gate
from taco_kd.train.processes import Processes
from taco_kd.train.record import begun
from taco_kd.train.session import Session
from taco_kd.train.state import TrainState
from taco_kd.train.vendor.arguments import OWN


def look(
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
            checkpoint.clear(run)
            return True, overwrite, resume
        resume = resume or same
        if resume and found["data"]["content_hash"] != data.content_hash:
            raise DataError(f"{out}: the data in {data.path} changed since this run began; it is not resumed")
        if resume and not same:
            raise UsageError(f"{out}: was begun with other settings; resume it without --set or --recipe")
        if resume and found.get("status") == BEGINNING:
            resume, overwrite = False, True
    if not resume:
        run.check_claim(overwrite)
    return False, overwrite, resume


def take_folder(run: RunDir, record: dict[str, Any], overwrite: bool, session: Session) -> None:
    """Have the folder hold this run and nothing else, seen by all processes.

    Raises:
        UsageError: it holds something that must not be lost.
    """
    if session.first:
        run.check_claim(overwrite)
        run.begin(record)
    session.processes.wait()


def begin(
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
