"""What a source of weights holds, and how it would load into a model: nothing is trained, nothing written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from taco_kd.classes.spaces import SPACES, space, space_or_file
from taco_kd.models import zoo
from taco_kd.models.detector import Detector
from taco_kd.models.loading import load_into
from taco_kd.models.naming import change_prefix
from taco_kd.models.original_names import recognise
from taco_kd.models.stored import Stored

NO_PARAMETERS = ("running_mean", "running_var", "num_batches_tracked", ".anchors", ".valid_mask")
"""ends of the names of buffers that are no parameters"""


def inspect(
    word: str, *, model: str | None = None, strip_prefix: str = "", add_prefix: str = "", classes: str | None
) -> dict[str, Any]:
    """Facts about a source of weights, as JSON values.

    Args:
        word: a path, a hub name, or ``packaged`` or ``published`` of ``model``.
        model: also how it would load into this model of the table, with the source's own classes (or COCO's
            80 where it names none); the source's own model when None and it says which.
        classes: label space of a source that names none.

    Raises:
        UsageError, DataError, MissingResourceError: as ``zoo.read``.
    """
    stored = zoo.read(word, model=model)
    names = stored.classes or (space_or_file(classes) if classes else None)
    found: dict[str, Any] = {
        "source": stored.label,
        "format": _format(stored, strip_prefix),
        "origin": dict(stored.origin),
        "tensors": len(stored.state),
        "parameters": sum(v.numel() for k, v in stored.state.items() if not k.endswith(NO_PARAMETERS)),
        "classes": list(names) if names is not None else None,
        "label_space": next((s for s in SPACES if names == space(s)), None),
        "remarks": list(stored.remarks),
        "keys": {key: list(value.shape) for key, value in stored.state.items()},
    }
    own = _described(stored, names or space("coco-80"))
    if own is not None:
        found |= {
            "model": own.model_name,
            "family": own.family,
            "image_size": own.image_size,
            "mean": own.mean.flatten().tolist(),
            "std": own.std.flatten().tolist(),
        }
    target = own if model is None else _wanted(model, names or space("coco-80"))
    if target is not None:
        report = load_into(
            target,
            stored,
            source_classes=names,
            strip_prefix=strip_prefix,
            add_prefix=add_prefix,
            allow_partial=True,
        )
        report.remarks = [remark for remark in report.remarks if "--allow-partial" not in remark]
        found |= {"load": asdict(report), "load_line": report.line(), "load_hint": report.hint}
        found["loads"] = report.enough
    return found


def _format(stored: Stored, strip_prefix: str) -> str:
    original = recognise(change_prefix(stored.state, strip=strip_prefix)[0])
    return f"{stored.kind}, {original.words}" if original is not None else stored.kind


def _described(stored: Stored, names: Sequence[str]) -> Detector | None:
    """The network that the source says it holds, untrained; None where it does not say."""
    if stored.blueprint is not None:
        return zoo.rebuilt(stored, names)
    named = stored.origin.get("model")  # files from before 0.2 name a model of the table and nothing more
    return zoo.MODELS[named].build(names) if named in zoo.MODELS else None


def _wanted(model: str, names: Sequence[str]) -> Detector:
    if zoo.is_source(model):
        return zoo.rebuilt(zoo.read(model, wanted_by="--model"), names)
    return zoo.find(model).build(names)
