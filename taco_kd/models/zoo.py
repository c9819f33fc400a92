"""How a name and a weights setting become a model; the table of names is in ``families``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taco_kd.classes.spaces import space_or_file
from taco_kd.errors import DataError, UsageError
from taco_kd.models.detector import Detector
from taco_kd.models.families import FAMILIES, MODEL_TYPES, MODELS, find, is_source
from taco_kd.models.load_report import LoadReport
from taco_kd.models.loading import load_backbone, load_into
from taco_kd.models.named_weights import locate, read
from taco_kd.models.rebuilding import drawn_from, rebuilt, take_input
from taco_kd.models.sources import packaged_file
from taco_kd.models.stored import OURS, Stored

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
        model = rebuilt(own, class_names, seed=seed)
    else:
        entry = find(name)
        with drawn_from(seed):
            model = entry.build(class_names)
    reports = []
    if stored is not None:
        reports.append(_take(model, stored, options, seed))
        take_input(model, stored)
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
            f"(coco-80, coco-91, or a file with one name a line): {_of(wanted_by)}-classes"
        )
    named = expected_model is not None and expected_model in MODELS
    own_name = stored.blueprint.model_name if stored.blueprint else stored.origin.get("model")
    if stored.kind == OURS and named and own_name != expected_model:
        raise UsageError(f"{stored.label}: holds a {own_name}, not a {expected_model}")
    if stored.blueprint is not None:
        model = rebuilt(stored, classes)
    else:
        name = own_name or expected_model
        if name not in MODELS:
            raise (DataError if stored.kind == OURS else UsageError)(
                f"{stored.label}: does not say which model it holds ({stored.kind}); "
                f"name it: {_of(wanted_by)}-model, one of {', '.join(MODELS)}"
            )
        model = MODELS[name].build(classes)
    report = _take(model, stored, options, seed=0)
    if image_size is not None:
        model.image_size = image_size
    return model.eval(), report


def _of(option: str) -> str:
    """Beginning of the options that say more about the model given to ``option``."""
    return "--teacher" if option == "--weights" else option


def _take(model: Detector, stored: Stored, options: LoadOptions, seed: int) -> LoadReport:
    with drawn_from(seed):  # a model that adapts to the weights draws layers anew
        return load_into(
            model,
            stored,
            source_classes=space_or_file(options.classes) if options.classes else None,
            strip_prefix=options.strip_prefix,
            add_prefix=options.add_prefix,
            allow_partial=options.allow_partial,
        )
