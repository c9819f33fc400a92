"""The table of models, one family of each file, and which words are names of it."""

from __future__ import annotations

from pathlib import Path

from taco_kd.errors import UsageError, one_of
from taco_kd.models import (
    conditional_detr,
    d_fine,
    dab_detr,
    deformable_detr,
    detr,
    hub,
    rtdetr,
    rtdetr_timm,
    rtdetr_ultralytics,
    yolo,
)
from taco_kd.models.entry import Family, ModelEntry

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (
        rtdetr,
        rtdetr_timm,
        conditional_detr,
        detr,
        deformable_detr,
        dab_detr,
        d_fine,
        yolo,
        rtdetr_ultralytics,
    )
}
MODELS: dict[str, ModelEntry] = {
    entry.name: entry for family in FAMILIES.values() for entry in family.entries
}
MODEL_TYPES: dict[str, str] = {
    model_type: family.name for family in FAMILIES.values() for model_type in family.model_types
}
"""transformers' ``model_type`` to the family that can rebuild it"""


def find(name: str) -> ModelEntry:
    """The entry of that name, or of ``rtdetr-timm:NAME``; UsageError names the valid ones."""
    if name in MODELS:
        return MODELS[name]
    entry = rtdetr_timm.entry(name)
    if entry is None:
        valid = [*MODELS, *(f"{prefix}NAME" for prefix in rtdetr_timm.PREFIXES)]
        raise UsageError(
            f"{one_of('model', name, valid)}; or a transformers folder, a run folder or a hub name"
        )
    return entry


def is_source(model: str) -> bool:
    """Whether ``model`` is not a name in the table but weights that say themselves what they are."""
    return model not in MODELS and (Path(model).exists() or hub.parse(model) is not None)
