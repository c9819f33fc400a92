"""Whether training runs can be compared: the same data, their predictions, and what else differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taco_kd.config import TrainConfig
from taco_kd.errors import DataError
from taco_kd.evaluate.arms import HARMLESS, ArmOfRuns
from taco_kd.evaluate.coco_metrics import EVALUATOR
from taco_kd.files import read_json
from taco_kd.runs import DataDir, RunDir, Split

RECIPE_KEYS = {
    "student.model": "student model",
    "train.batch_size": "batch size",
    "train.lr": "learning rate",
    "train.backbone_lr_ratio": "learning rate of the backbone",
    "train.lr_ratios": "learning rates of other parts",
    "train.weight_decay": "weight decay",
    "train.warmup_steps": "warm-up",
    "train.schedule": "learning rate schedule",
    "train.clip_norm": "gradient clipping",
    "train.ema_decay": "moving average of weights",
    "train.horizontal_flip": "augmentation (horizontal flip)",
    "train.hold_out": "share of the training images put aside",
    "train.evaluate_every": "how often it was evaluated during the run",
    "train.choose_on": "images that it could choose on",
    "train.keep": "weights it kept",
    "train.patience": "evaluations without improvement before it ends",
    "train.augment": "augmentation",
    "train.sampling": "how often images are seen",
    "train.balance_below": "which classes are rare",
    "train.micro_batch": "images handled at a time",
    "train.precision": "precision",
    "train.milestones": "drops of the learning rate",
    "train.lr_drop": "factor of these drops",
    "train.freeze": "frozen parameters",
    "train.freeze_batch_norm": "frozen batch norms",
    "train.sync_batch_norm": "batch norms over all processes",
    "train.channels_last": "channels last",
    "train.compile": "compiled network",
    "train.deterministic": "deterministic operations",
    "train.max_skipped": "steps that may be skipped",
    "train.seed": "training seed",
    "pretrain.steps": "steps of a stage before, without labels",
    "pretrain.epochs": "epochs of a stage before, without labels",
}
"""Recipe keys that must agree, with their names. ``teacher`` and ``distill`` are the treatment itself; device
and checkpoint interval do not change what is trained; the number of steps is in the record. Settings of
``train`` that are not listed here are compared too, under their own names."""

_DEFAULTS = TrainConfig().model_dump(mode="json")

_NOT_COMPARED = {*HARMLESS, "steps", "epochs"} - {"seed"}


def predictions_of(run: RunDir, split: Split) -> list[dict[str, Any]]:
    """The COCO results of an evaluated run.

    Raises:
        DataError: there are none yet, or the file holds something else.
    """
    file = run.predictions_file(split)
    if not file.is_file():
        raise DataError(f"{run.path}: no predictions on {split}; run taco-kd evaluate {run.path} first")
    predictions = read_json(file)
    if not isinstance(predictions, list):
        raise DataError(f"{file}: not a COCO results list; run taco-kd evaluate {run.path} again")
    return predictions


def common_dataset(runs: Sequence[RunDir], records: Sequence[Mapping[str, Any]]) -> DataDir:
    """The dataset that all runs used; any of the places their records name will do.

    Raises:
        DataError: a record names none, the runs used different data, or it is gone or has changed.
    """
    places: list[Path] = []
    hashes: list[str] = []
    sizes: list[Any] = []
    for run, record in zip(runs, records, strict=True):
        try:
            places.append(Path(record["data"]["path"]))
            hashes.append(str(record["data"]["content_hash"]))
        except (KeyError, TypeError):
            raise DataError(
                f"{run.record_file}: does not say which data the run used; train it again"
            ) from None
        sizes.append(record["data"].get("image_size"))
        if sizes[-1] != sizes[0] and None not in sizes:
            raise DataError(
                f"{runs[0].path} and {run.path} used images prepared at {sizes[0]} and {sizes[-1]} pixels: "
                "boxes, and what is small, medium or large, differ; train both on one dataset"
            )
        if hashes[-1] != hashes[0]:
            raise DataError(
                f"{runs[0].path} and {run.path} used different data (content hash {hashes[0][:8]} and "
                f"{hashes[-1][:8]}): AP on different images cannot be compared; train both on one dataset"
            )
    place = next((each for each in places if DataDir(each).record_file.is_file()), places[0])
    data = DataDir.open(place)
    if data.content_hash != hashes[0]:
        raise DataError(
            f"{data.path}: the dataset has changed since the runs (content hash {data.content_hash[:8]}, the "
            f"runs used {hashes[0][:8]}); restore it, or train the runs again"
        )
    return data


def require_same_evaluation(runs: Sequence[RunDir], split: Split) -> None:
    """Refuse runs whose metrics were made by different evaluators or with areas in different pixels.

    Raises:
        DataError: names both runs and what differs.
    """
    first: tuple[RunDir, Mapping[str, Any]] | None = None
    for run in runs:
        file = run.metrics_file(split)
        if not file.is_file():
            continue
        metrics = read_json(file).get("metrics") or {}
        found = {
            "evaluated by": metrics.get("evaluator") or None,
            "box areas in": metrics.get("area_space"),
        }
        if first is None:
            first = run, found
            continue
        for label, value in found.items():
            theirs = first[1][label]
            if value != theirs and None not in (value, theirs):
                raise DataError(
                    f"{first[0].path} and {run.path} were evaluated differently ({label} {theirs} and "
                    f"{value}); evaluate both again (now: {EVALUATOR}): taco-kd evaluate {first[0].path} "
                    f"{run.path}"
                )


def confounders_of_arms(reference: ArmOfRuns, arm: ArmOfRuns) -> list[str]:
    """:func:`confounders` of two arms, by a training seed that both have, if there is one.

    Seeds themselves are no confounder where an arm has several: the interval covers them.
    """
    common = [seed for seed in reference.seeds if seed is not None and seed in arm.seeds]
    if common:
        ours = reference.records[reference.seeds.index(common[0])]
        theirs = arm.records[arm.seeds.index(common[0])]
        return confounders(reference.name, ours, arm.name, theirs)
    several = max(len(reference.runs), len(arm.runs)) > 1
    return confounders(
        reference.name, reference.records[0], arm.name, arm.records[0], other_seed_is_meant=several
    )


def confounders(
    reference_name: str,
    reference: Mapping[str, Any],
    name: str,
    record: Mapping[str, Any],
    *,
    other_seed_is_meant: bool = False,
) -> list[str]:
    """One line for each thing that differs between two run records and is not the treatment.

    A difference in AP may come from any of them; an empty list leaves the treatment and chance.

    Args:
        other_seed_is_meant: the records are of different training seeds, which the interval covers: new
            layers then differ in their random weights, so only the files behind the weights are compared.
    """
    found = []
    ours, theirs = record.get("init_hash"), reference.get("init_hash")
    sources = _initialisation(reference), _initialisation(record)
    if ours is None or theirs is None:
        who = " and ".join(n for n, h in ((reference_name, theirs), (name, ours)) if h is None)
        found.append(f"initial weights of {who} are not recorded: they may differ")
    elif sources[0] != sources[1]:
        found.append(
            f"initial weights differ: {reference_name} started from {sources[0]}, {name} from {sources[1]}: "
            "the difference cannot be put down to distillation alone"
        )
    elif ours != theirs and not other_seed_is_meant:
        found.append(
            f"initial weights differ ({str(theirs)[:8]} in {reference_name}, {str(ours)[:8]} in {name}): "
            "the difference cannot be put down to distillation alone"
        )
    pairs: dict[str, tuple[Any, Any]] = {
        "training steps": (reference.get("steps"), record.get("steps")),
        "trainer": tuple(each.get("engine", "taco-kd") for each in (reference, record)),
    }
    for key in _compared(reference, record):
        if key != "train.seed" or not other_seed_is_meant:
            pairs[RECIPE_KEYS.get(key, key)] = (_at(reference, key), _at(record, key))
    for label, (theirs, ours) in pairs.items():
        if theirs != ours:
            found.append(
                f"{label}: {_shown(theirs)} in {reference_name}, {_shown(ours)} in {name}: "
                "the difference may come from this"
            )
    return found


def _initialisation(record: Mapping[str, Any]) -> str:
    """The files a student started from, in words."""
    weights, backbone = _at(record, "student.weights"), _at(record, "student.backbone_from")
    start = "random weights" if weights == "random" else f"the weights {weights}"
    if backbone is None:
        return start
    return f"{start} and the backbone of {backbone}"


def _compared(*records: Mapping[str, Any]) -> list[str]:
    """The recipe keys that are compared: those with a name, then all others of ``train``."""
    train = [key for record in records for key in (record.get("recipe") or {}).get("train") or {}]
    others = [f"train.{key}" for key in train if key not in _NOT_COMPARED]
    return list(dict.fromkeys([*RECIPE_KEYS, *others]))


def _at(record: Mapping[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    values = (record.get("recipe") or {}).get(section) or {}
    value = values.get(name)
    if section == "train" and values and name not in values:
        value = _DEFAULTS.get(name)  # an older run, from before there was anything but the default
    return None if value == {} else value  # an empty table is as good as none, as in older records


def _shown(value: object) -> str:
    return "not recorded" if value is None else str(value)
