"""The table of models, and how a name and a weights setting become a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import torch

from taco_kd.errors import DataError, UsageError, one_of
from taco_kd.models import conditional_detr, d_fine, dab_detr, deformable_detr, detr, rtdetr, rtdetr_timm
from taco_kd.models.detector import Detector
from taco_kd.models.entry import Family, ModelEntry
from taco_kd.models.weights import LoadReport, load_backbone, load_into, read_weights, stored_class_names

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (rtdetr, rtdetr_timm, conditional_detr, detr, deformable_detr, dab_detr, d_fine)
}
MODELS: dict[str, ModelEntry] = {
    entry.name: entry for family in FAMILIES.values() for entry in family.entries
}


def find(name: str) -> ModelEntry:
    """The entry of that name, or of ``rtdetr-timm:NAME``; UsageError names the valid ones."""
    if name in MODELS:
        return MODELS[name]
    entry = rtdetr_timm.entry(name)
    if entry is None:
        valid = [*MODELS, *(f"{prefix}NAME" for prefix in rtdetr_timm.PREFIXES)]
        raise UsageError(one_of("model", name, valid))
    return entry


def packaged_file(entry: ModelEntry) -> Path:
    """The weights that ship with the package.

    Raises:
        UsageError: this model has none.
    """
    if entry.packaged is None:
        with_weights = ", ".join(e.name for e in MODELS.values() if e.packaged)
        raise UsageError(
            f"{entry.name} has no packaged weights (only {with_weights} have); "
            "set its weights to random, a run folder or a .safetensors file"
        )
    return Path(str(resources.files("taco_kd") / "assets" / entry.packaged))


def make(
    name: str,
    class_names: Sequence[str],
    *,
    weights: str,
    backbone_from: str | None = None,
    seed: int = 0,
) -> tuple[Detector, list[LoadReport]]:
    """A model with the given classes and weights; new layers are drawn from ``seed``.

    Args:
        weights: ``packaged``, ``random``, or the path of a .safetensors file or run folder.
    """
    entry = find(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = entry.build(class_names)
    reports = []
    if weights != "random":
        path = packaged_file(entry) if weights == "packaged" else Path(weights)
        state, metadata = read_weights(path)
        label = f"{name} packaged weights" if weights == "packaged" else str(path)
        source_classes = stored_class_names(metadata, path)
        reports.append(load_into(model, state, source=label, source_classes=source_classes))
    if backbone_from is not None:
        state, _ = read_weights(Path(backbone_from))
        reports.append(
            load_backbone(model, model.rename_backbone(state), source=f"backbone from {backbone_from}")
        )
    return model, reports


def load(path: Path, *, expected_model: str | None = None) -> Detector:
    """The model saved in a .safetensors file of ours or a run folder, with its own classes."""
    state, metadata = read_weights(path)
    name, family = metadata.get("model", ""), FAMILIES.get(metadata.get("family", ""))
    if family is None and name not in MODELS:
        raise DataError(f"{path}: its metadata names no model we know ({name!r}); was it saved by taco-kd?")
    if expected_model is not None and name != expected_model:
        raise UsageError(f"{path}: holds a {name}, not a {expected_model}")
    classes = stored_class_names(metadata, path)
    if family is None:  # files from before 0.2 name a model of the table and nothing more
        model = MODELS[name].build(classes)
    else:
        architecture, side = json.loads(metadata["architecture"]), int(metadata["image_size"])
        model = family.rebuild(architecture, classes, model_name=name, image_size=side)
    load_into(model, state, source=str(path), source_classes=classes)
    for key in ("mean", "std"):
        if key in metadata:
            getattr(model, key).copy_(torch.tensor(json.loads(metadata[key])).view(1, 3, 1, 1))
    return model.eval()
