"""The table of models, and how a name and a weights setting become a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from taco_kd.classes.spaces import space_or_file
from taco_kd.errors import DataError, UsageError, one_of
from taco_kd.models import (
    conditional_detr,
    d_fine,
    dab_detr,
    deformable_detr,
    detr,
    rtdetr,
    rtdetr_timm,
    rtdetr_ultralytics,
    sources,
    yolo,
)
from taco_kd.models.detector import Detector
from taco_kd.models.entry import Family, ModelEntry
from taco_kd.models.load_report import LoadReport
from taco_kd.models.loading import load_backbone, load_into
from taco_kd.models.sources import packaged_file
from taco_kd.models.stored import OURS, Blueprint, Stored

__all__ = [
    "FAMILIES",
    "MODELS",
    "MODEL_TYPES",
    "LoadOptions",
    "find",
    "is_source",
    "load",
    "load_reported",
    "locate",
    "make",
    "packaged_file",
    "read",
    "rebuilt",
]

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


@dataclass(frozen=True)
class LoadOptions:
    """How weights are taken in: what a source does not say itself, and what is forgiven.

    Args:
        allow_partial: go on although less than 90 % of the values arrived.
        strip_prefix, add_prefix: taken off the keys of the source, put before them.
        classes: label space of the source's head (``coco-80``, or a file of names) where it names none.
    """

    allow_partial: bool = False
    strip_prefix: str = ""
    add_prefix: str = ""
    classes: str | None = None


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


def read(word: str, *, model: str | None = None, wanted_by: str = "--weights") -> Stored:
    """Weights by one word of the user's; ``packaged`` and ``published`` are those of ``model``.

    Raises:
        UsageError: ``model`` has no such weights.
        DataError: the file is damaged.
        MissingResourceError: they are not on this machine, nor to be had.
    """
    if word == "packaged":
        return sources.read_packaged(_entry_for(word, model))
    if word == "published":
        return sources.read_published(_entry_for(word, model), families=MODEL_TYPES, wanted_by=wanted_by)
    return sources.read(word, families=MODEL_TYPES, wanted_by=wanted_by)


def locate(word: str, *, model: str | None = None, wanted_by: str = "--weights") -> None:
    """Make sure that ``read`` will find something, without reading it; raises as ``read`` does."""
    if word == "packaged":
        packaged_file(_entry_for(word, model))
    elif word == "published":
        sources.locate_published(_entry_for(word, model), wanted_by=wanted_by)
    else:
        sources.locate(word, families=MODEL_TYPES, wanted_by=wanted_by)


def _entry_for(word: str, model: str | None) -> ModelEntry:
    if model is None or is_source(model):
        raise UsageError(f"{word} weights are those of a model in taco-kd list models, not of {model}")
    return find(model)


def is_source(model: str) -> bool:
    """Whether ``model`` is not a name in the table but weights that say themselves what they are."""
    from taco_kd.models import hub

    return model not in MODELS and (Path(model).exists() or hub.parse(model) is not None)


def make(
    name: str,
    class_names: Sequence[str],
    *,
    weights: str,
    backbone_from: str | None = None,
    seed: int = 0,
    image_size: int | None = None,
    options: LoadOptions | None = None,
) -> tuple[Detector, list[LoadReport]]:
    """A model with the given classes and weights; new layers are drawn from ``seed``.

    Args:
        name: a model of the table, or a folder, file or hub name whose own architecture is taken.
        weights: ``packaged``, ``published``, ``random``, a path or a hub name.
        backbone_from: likewise; only the backbone is taken from it, last.
        image_size: side in pixels of the input; by default that of the weights, else the model's own.

    Raises:
        UsageError, DataError: a name or a file that cannot be used.
        MissingResourceError: weights that are not on this machine, or of which less than 90 % arrived.
    """
    options = options or LoadOptions()
    stored = read(weights, model=name) if weights != "random" else None
    if is_source(name):
        own = stored if stored is not None and weights == name else read(name, wanted_by="--model")
        model = _rebuilt(_blueprint(own), class_names, seed)
        described: Blueprint | None = own.blueprint
    else:
        entry = find(name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = entry.build(class_names)
        described = None
    reports = []
    if stored is not None:
        reports.append(_take(model, stored, options, seed))
        described = stored.blueprint or described
    if described is not None:
        _take_input(model, described)
    if backbone_from is not None:
        source = read(backbone_from, model=name, wanted_by="--backbone-from")
        reports.append(load_backbone(model, source, allow_partial=options.allow_partial))
    if image_size is not None:
        model.image_size = image_size
    return model, reports


def load(path: Path | str, *, expected_model: str | None = None) -> Detector:
    """The model saved in a file or folder, with its own classes; see ``load_reported``."""
    return load_reported(str(path), expected_model=expected_model)[0]


def load_reported(
    word: str,
    *,
    expected_model: str | None = None,
    image_size: int | None = None,
    options: LoadOptions | None = None,
    wanted_by: str = "--weights",
) -> tuple[Detector, LoadReport]:
    """A model with its own classes, in eval mode, and the report of its load.

    Args:
        word: a path, a hub name, or ``packaged`` or ``published`` of ``expected_model``.
        expected_model: a name of the table; needed where the weights do not say what they are of.
        image_size: side in pixels of the input; by default as the weights or the model say.

    Raises:
        UsageError: it holds another model, or does not say what it holds.
        DataError: a damaged file.
        MissingResourceError: not on this machine, or less than 90 % arrived.
    """
    options = options or LoadOptions()
    stored = read(word, model=expected_model, wanted_by=wanted_by)
    classes = stored.classes or (space_or_file(options.classes) if options.classes else None)
    if classes is None:
        raise UsageError(
            f"{stored.label}: does not name its classes; say which label space its head has "
            "(coco-80, coco-91, or a file with one name a line): --teacher-classes"
        )
    named = expected_model is not None and expected_model in MODELS
    own_name = stored.blueprint.model_name if stored.blueprint else stored.origin.get("model")
    if stored.kind == OURS and named and own_name != expected_model:
        raise UsageError(f"{stored.label}: holds a {own_name}, not a {expected_model}")
    if stored.blueprint is not None:
        model = _rebuilt(stored.blueprint, classes, seed=0)
        _take_input(model, stored.blueprint)
    else:
        name = own_name or expected_model
        if name not in MODELS:
            raise (DataError if stored.kind == OURS else UsageError)(
                f"{stored.label}: does not say which model it holds ({stored.kind}); "
                f"name it: --teacher-model, one of {', '.join(MODELS)}"
            )
        model = MODELS[name].build(classes)
    report = _take(model, stored, options, seed=0)
    if image_size is not None:
        model.image_size = image_size
    return model.eval(), report


def rebuilt(stored: Stored, class_names: Sequence[str], *, seed: int = 0) -> Detector:
    """The network that a source describes, with these classes and random weights.

    Raises:
        UsageError: the source does not say what it holds.
    """
    model = _rebuilt(_blueprint(stored), class_names, seed)
    _take_input(model, _blueprint(stored))
    return model


def _blueprint(stored: Stored) -> Blueprint:
    if stored.blueprint is None:
        raise UsageError(
            f"{stored.label}: does not say which architecture it holds ({stored.kind}); "
            f"choose a model of taco-kd list models and give this as its weights"
        )
    return stored.blueprint


def _rebuilt(blueprint: Blueprint, class_names: Sequence[str], seed: int) -> Detector:
    family = FAMILIES.get(blueprint.family)
    if family is None:
        raise DataError(
            f"the model {blueprint.model_name!r} is of a family we do not know: {blueprint.family}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return family.rebuild(
            blueprint.architecture,
            class_names,
            model_name=blueprint.model_name,
            image_size=blueprint.image_size,
        )


def _take(model: Detector, stored: Stored, options: LoadOptions, seed: int) -> LoadReport:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # a model that adapts to the weights draws layers anew
        return load_into(
            model,
            stored,
            source_classes=space_or_file(options.classes) if options.classes else None,
            strip_prefix=options.strip_prefix,
            add_prefix=options.add_prefix,
            allow_partial=options.allow_partial,
        )


def _take_input(model: Detector, blueprint: Blueprint) -> None:
    """Size and normalisation belong to the weights: they were trained on images prepared so."""
    model.image_size = blueprint.image_size
    model.mean.copy_(torch.tensor(blueprint.mean).view(1, 3, 1, 1))
    model.std.copy_(torch.tensor(blueprint.std).view(1, 3, 1, 1))
