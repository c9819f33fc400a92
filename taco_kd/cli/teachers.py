"""What the words of ``--teacher`` mean: models, weights, and the recipe that fits them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taco_kd.config import Recipe

DEFAULT = "nano-matched"
"""Recipe of ``taco-kd distill`` where none is named."""

FAMILIES = {
    "conditional-detr": ("conditional-detr-nano", "conditional-detr-r50"),
    "dinov3-convnext": ("dinov3-convnext-nano", "dinov3-convnext-b"),
    "dinov3-vit": ("dinov3-vit-nano", "dinov3-vit-b"),
}
"""The paper's teachers: the packaged nano model for nano students, the published one for full-size ones."""


def recipe_for(recipe: str | None, teacher: str | None) -> str:
    """The recipe that is meant: ``--teacher dinov3-vit --recipe paper`` is ``dinov3-vit-paper``."""
    from taco_kd.config import recipe_names

    kind = None if teacher is None else _feature_kind(teacher)
    if kind is None:
        return recipe or DEFAULT
    wanted = recipe or DEFAULT
    size = "nano-" if wanted.startswith("nano-") else ""
    form = wanted.removeprefix("nano-")
    own = f"{size}{kind}-{'corrected' if form == 'matched' else form}"
    return own if own in recipe_names() else wanted


def teacher_settings(
    teachers: Sequence[str], recipe: Recipe, model: str | None, classes: str | None
) -> dict[str, Any]:
    """The settings that the flags about the teachers stand for; those of the recipe where they agree.

    Raises:
        UsageError: a name that is no model, folder or file; or no teacher at all.
    """
    from taco_kd.errors import UsageError
    from taco_kd.progress import notice

    if not teachers and recipe.teacher is None:
        raise UsageError(f"recipe {recipe.name} has no teacher; give one with --teacher")
    if not teachers or _is_own(teachers[0], recipe):
        assert recipe.teacher is not None
        given = {"teacher.model": model, "teacher.weights_classes": classes}
        used = {"model": recipe.teacher.model, "weights": recipe.teacher.weights}
    else:
        used = _teacher(teachers[0], recipe, model, classes)
        given = {f"teacher.{key}": value for key, value in used.items()}
        given |= {f"distill.{key}": value for key, value in _changed_terms(used["model"], recipe).items()}
    if used["weights"] == "packaged":
        notice(f"Teacher: the packaged {used['model']}, trained on synthetic scenes.")
    if len(teachers) > 1:
        given["also"] = _also(teachers[1:], recipe)
    return given


def _is_own(teacher: str, recipe: Recipe) -> bool:
    """Whether the recipe's own teacher is of the family that is asked for, at whatever size."""
    own = recipe.teacher
    return own is not None and teacher in FAMILIES and own.model.startswith(teacher)


def _teacher(teacher: str, recipe: Recipe, model: str | None, classes: str | None) -> dict[str, Any]:
    """Settings of a [teacher] table."""
    from taco_kd.errors import UsageError
    from taco_kd.models import zoo
    from taco_kd.models.feature_zoo import FEATURE_MODELS, name_in
    from taco_kd.models.readers import peek_model

    if teacher in FAMILIES:
        full_size = recipe.student.weights == "published"
        teacher = FAMILIES[teacher][full_size]
    if teacher in FEATURE_MODELS:
        return {"model": teacher, "weights": _own_weights(FEATURE_MODELS[teacher].packaged)}
    if Path(teacher).exists() and (held := name_in(Path(teacher))) is not None:
        return {"model": held, "weights": teacher}
    if teacher in zoo.MODELS:
        weights = _own_weights(zoo.MODELS[teacher].packaged)
        return {"model": teacher, "weights": weights, "weights_classes": classes}
    if not zoo.is_source(teacher):
        raise UsageError(
            f"--teacher {teacher}: not one of {', '.join(FAMILIES)}, no model of taco-kd list models, and no "
            "such folder or file"
        )
    held = model or peek_model(Path(teacher)) or teacher
    return {"model": held, "weights": teacher, "weights_classes": classes}


def _own_weights(packaged: str | None) -> str:
    return "packaged" if packaged else "published"


def _changed_terms(model: str, recipe: Recipe) -> dict[str, Any]:
    """What a feature teacher leaves of the recipe's terms."""
    from taco_kd.models.feature_zoo import is_feature_model
    from taco_kd.progress import notice

    if not is_feature_model(model):
        return {}
    notice(f"Teacher {model} has features only; no class, box or attention term unless you set one.")
    features = recipe.distill.features if recipe.distill is not None else "off"
    return {
        "classes": "off",
        "boxes": "off",
        "attention": "off",
        "features": "pkd" if features == "off" else features,
    }


def _also(teachers: Sequence[str], recipe: Recipe) -> str:
    """Further teachers as the value of a TOML key: the recipe's losses, as far as each can teach them."""
    lessons = []
    for word in teachers:
        found = {k: v for k, v in _teacher(word, recipe, None, None).items() if v is not None}
        values = recipe.distill.model_dump(mode="json") if recipe.distill is not None else {}
        values |= _changed_terms(found["model"], recipe)
        if values.get("pairing") == "injected":
            values["pairing"] = "hungarian"  # the decoder takes the queries of one teacher
        lessons.append({"teacher": found, "distill": {k: v for k, v in values.items() if v is not None}})
    return "[" + ", ".join(_inline(lesson) for lesson in lessons) + "]"


def _inline(value: Any) -> str:
    """A value of JSON as one of TOML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_inline(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


def _feature_kind(teacher: str) -> str | None:
    """``dinov3-convnext`` or ``dinov3-vit`` for a name, folder or file of such a model; None for others."""
    from taco_kd.models.feature_zoo import name_in

    path = Path(teacher)
    held = (name_in(path) if path.exists() else None) or teacher
    kinds = [family for family in FAMILIES if family.startswith("dinov3") and held.startswith(family)]
    return kinds[0] if kinds else None
