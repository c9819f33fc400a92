"""Whether training runs can be compared: the same data, their predictions, and what else differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taco_kd.errors import DataError
from taco_kd.files import read_json
from taco_kd.runs import DataDir, RunDir, Split

RECIPE_KEYS = {
    "student.model": "student model",
    "train.batch_size": "batch size",
    "train.lr": "learning rate",
    "train.backbone_lr_ratio": "learning rate of the backbone",
    "train.weight_decay": "weight decay",
    "train.warmup_steps": "warm-up",
    "train.schedule": "learning rate schedule",
    "train.clip_norm": "gradient clipping",
    "train.ema_decay": "moving average of weights",
    "train.horizontal_flip": "augmentation (horizontal flip)",
    "train.seed": "training seed",
}
"""Recipe keys that must agree, with their names. ``teacher`` and ``distill`` are the treatment itself; device
and checkpoint interval do not change what is trained; the number of steps is in the record."""


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
    for run, record in zip(runs, records, strict=True):
        try:
            places.append(Path(record["data"]["path"]))
            hashes.append(str(record["data"]["content_hash"]))
        except (KeyError, TypeError):
            raise DataError(
                f"{run.record_file}: does not say which data the run used; train it again"
            ) from None
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


def confounders(
    reference_name: str, reference: Mapping[str, Any], name: str, record: Mapping[str, Any]
) -> list[str]:
    """One line for each thing that differs between two run records and is not the treatment.

    A difference in AP may come from any of them; an empty list leaves the treatment and chance.
    """
    found = []
    ours, theirs = record.get("init_hash"), reference.get("init_hash")
    if ours is None or theirs is None:
        who = " and ".join(n for n, h in ((reference_name, theirs), (name, ours)) if h is None)
        found.append(f"initial weights of {who} are not recorded: they may differ")
    elif ours != theirs:
        found.append(
            f"initial weights differ ({str(theirs)[:8]} in {reference_name}, {str(ours)[:8]} in {name}): "
            "the difference cannot be put down to distillation alone"
        )
    pairs = {"training steps": (reference.get("steps"), record.get("steps"))}
    for key, label in RECIPE_KEYS.items():
        pairs[label] = (_at(reference, key), _at(record, key))
    for label, (theirs, ours) in pairs.items():
        if theirs != ours:
            found.append(
                f"{label}: {_shown(theirs)} in {reference_name}, {_shown(ours)} in {name}: "
                "the difference may come from this"
            )
    return found


def _at(record: Mapping[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    values = (record.get("recipe") or {}).get(section) or {}
    return values.get(name)


def _shown(value: object) -> str:
    return "not recorded" if value is None else str(value)
