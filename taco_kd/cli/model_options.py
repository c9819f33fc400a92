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


def teacher_settings(
    teacher: str | None, recipe_name: str, model: str | None, classes: str | None
) -> dict[str, Any]:
    """The settings that the flags about the teacher stand for."""
    from taco_kd.config import load_recipe
    from taco_kd.errors import UsageError
    from taco_kd.models import zoo
    from taco_kd.models.readers import peek_model
    from taco_kd.progress import notice

    recipe = load_recipe(recipe_name)
    own = recipe.teacher
    if teacher is None or (teacher == "conditional-detr" and own is not None and own.weights != "packaged"):
        if own is None:
            raise UsageError(f"recipe {recipe_name} has no teacher; give one with --teacher")
        if own.weights == "packaged" and teacher is None:
            notice("Teacher: the packaged nano Conditional DETR, trained on synthetic scenes.")
        return {"teacher.model": model, "teacher.weights_classes": classes}
    if teacher == "conditional-detr":
        notice("Teacher: the packaged nano Conditional DETR, trained on synthetic scenes.")
        return {"teacher.model": "conditional-detr-nano", "teacher.weights": "packaged"}
    features = _feature_teacher(teacher)
    if features is not None:
        held, weights = features
        notice(f"Teacher: {held}, features only; no class and no box term unless you set one.")
        off = {"distill.classes": "off", "distill.boxes": "off"}
        return {"teacher.model": held, "teacher.weights": weights, **off}
    if teacher in zoo.MODELS:
        weights = "packaged" if zoo.MODELS[teacher].packaged else "published"
        return {"teacher.model": teacher, "teacher.weights": weights, "teacher.weights_classes": classes}
    if not zoo.is_source(teacher):
        raise UsageError(
            f"--teacher {teacher}: not conditional-detr, no model of taco-kd list models, and no such "
            "folder or file"
        )
    held = model or peek_model(Path(teacher)) or teacher
    return {"teacher.model": held, "teacher.weights": teacher, "teacher.weights_classes": classes}


def _feature_teacher(teacher: str) -> tuple[str, str] | None:
    """Model and weights settings if ``--teacher`` means a feature teacher, by name or by path."""
    from taco_kd.models.feature_zoo import FEATURE_MODELS, PAPER, name_in

    name = PAPER.get(teacher, teacher)
    if name in FEATURE_MODELS:
        return name, "published"
    held = name_in(Path(teacher)) if Path(teacher).exists() else None
    return None if held is None else (held, teacher)
