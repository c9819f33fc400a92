"""Options about models and their weights that several commands share, and the settings they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

Weights = Annotated[
    Optional[str],
    typer.Option(
        help="Initial weights: packaged, published, random, a run or transformers folder, a .safetensors, "
        ".pth, .pt or .onnx file, or a hub name (OWNER/REPO@REVISION).",
        show_default="the recipe's",
    ),
]
BackboneFrom = Annotated[
    Optional[str], typer.Option(help="Take the backbone from these weights, the rest from --weights.")
]
WeightsClasses = Annotated[
    Optional[str],
    typer.Option(
        help="Label space of weights that do not name their classes: coco-80, coco-91, or a file of names."
    ),
]
StripPrefix = Annotated[
    Optional[str], typer.Option(help="Prefix to take off the keys of the weights, for example 'module.'.")
]
AddPrefix = Annotated[Optional[str], typer.Option(help="Prefix to put before the keys of the weights.")]
AllowPartial = Annotated[
    bool, typer.Option("--allow-partial", help="Go on although less than 90 % of the model's values arrived.")
]
DetectorClasses = Annotated[
    Optional[str],
    typer.Option(help="Classes of a detector that names none: coco-80, coco-91, or a file of names."),
]
DetectorModel = Annotated[
    Optional[str],
    typer.Option(help="What bare weights are of, if they do not say: a name of list models."),
]
TrustPickle = Annotated[
    bool,
    typer.Option("--trust-pickle", help="Let Ultralytics load .pt files itself: they can run any code."),
]
ImageSize = Annotated[
    Optional[int], typer.Option(help="Side in pixels of the input.", show_default="as the weights say")
]


def student_settings(
    model: str | None,
    weights: str | None,
    backbone_from: str | None,
    classes: str | None,
    strip_prefix: str | None,
    add_prefix: str | None,
    allow_partial: bool,
    image_size: int | None,
) -> dict[str, Any]:
    """The settings that the flags about the student stand for; None where a flag was not given."""
    if model is not None and weights is None and ("/" in model or Path(model).is_dir()):
        weights = model  # a folder or hub name is both: what to build and what to fill it with
    return {
        "student.model": model,
        "student.weights": weights,
        "student.backbone_from": backbone_from,
        "student.weights_classes": classes,
        "student.strip_prefix": strip_prefix,
        "student.add_prefix": add_prefix,
        "student.allow_partial": "true" if allow_partial else None,
        "student.image_size": image_size,
    }
