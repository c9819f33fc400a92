"""Typed settings: a recipe is one TOML file; flags and ``--set key=value`` override it; no unknown keys.

The text under each field is its documentation, and the help of the flag that sets it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from taco_kd.errors import UsageError, one_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Settings(BaseModel):
    """Base of all settings: frozen, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PrepareConfig(Settings):
    """How raw images become a dataset."""

    source: Literal["auto", "synthetic", "coco", "taco"] = "auto"
    """where the images come from; auto recognises what the other options point at"""
    root: Path | None = None
    """folder in TACO's layout: annotations.json and batch_*/"""
    images: Path | None = None
    """folder of images of a COCO dataset"""
    annotations: Path | None = None
    """COCO annotation file"""
    size: int = Field(640, ge=32, le=4096)
    """side in pixels of the square output images"""
    hash_threshold: int = Field(4, ge=0, le=32)
    """perceptual hashes (64-bit phash) at most this many bits apart are candidate duplicates"""
    train_ratio: float = Field(0.85, gt=0.0, lt=1.0)
    """share of the images that goes to train"""
    seed: int = Field(0, ge=0)
    """seed of the split, and of the scenes when the source is synthetic"""
    scenes: int = Field(400, ge=4)
    """how many scenes the synthetic source draws"""
    workers: int = Field(0, ge=0)
    """processes for decoding and drawing; 0 means one per core"""
    clip_boxes: bool = False
    """clip boxes that leave their image (with a line for each) instead of refusing the file"""


class LoadConfig(Settings):
    """What a source of weights does not say itself, and what is forgiven when it is loaded."""

    image_size: int | None = Field(None, ge=32, le=4096, multiple_of=32)
    """side in pixels of its square input; by default as its weights say, else its own"""
    weights_classes: str | None = None
    """label space of weights that do not name their classes: coco-80, coco-91, or a file of names"""
    strip_prefix: str = ""
    """taken off the keys of the weights, for example module."""
    add_prefix: str = ""
    """put before the keys of the weights, for example model."""
    allow_partial: bool = False
    """go on although less than 90 % of the values arrived"""


class StudentConfig(LoadConfig):
    model: str = "rtdetr-nano"
    """name in the model list, or a transformers folder, run folder or hub name"""
    weights: str = "packaged"
    """packaged, published, random, a run or transformers folder, a weights file, a hub name"""
    backbone_from: str | None = None
    """take only the backbone from these weights"""
    refinement: Literal["detached", "original"] = "detached"
    """RT-DETR: gradient of a decoder layer's boxes, as transformers has it or as the original has it"""


class TeacherConfig(LoadConfig):
    model: str = "conditional-detr-nano"
    """name in the model list, or a transformers folder, run folder or hub name"""
    weights: str = "packaged"
    """packaged, published, a run or transformers folder, a weights file, a hub name; random for a feature
    teacher"""


class TrainConfig(Settings):
    steps: int | None = Field(None, ge=1)
    """optimiser steps; overrides epochs"""
    epochs: int = Field(50, ge=1)
    """passes over the training images"""
    batch_size: int = Field(16, ge=1)
    """images in one step"""
    lr: float = Field(5e-5, gt=0)
    """peak learning rate of AdamW"""
    backbone_lr_ratio: float = Field(1.0, ge=0)
    """learning rate of the backbone, as a multiple of lr"""
    weight_decay: float = Field(1e-4, ge=0)
    """weight decay of AdamW"""
    warmup_steps: int = Field(0, ge=0)
    """steps over which the learning rate rises linearly from zero"""
    schedule: Literal["flat", "cosine"] = "flat"
    """learning rate after the warm-up"""
    clip_norm: float = Field(0.1, gt=0)
    """largest norm of the whole gradient"""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """decay of the moving average of weights that is kept as the result; 0 keeps the last weights"""
    horizontal_flip: float = Field(0.5, ge=0, le=1)
    """probability of mirroring an image"""
    seed: int = Field(0, ge=0)
    """seed of data order, augmentation and new layers"""
    checkpoint_seconds: float = Field(60.0, gt=0)
    """a run that is killed loses at most about this much work"""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto"""


class DistillConfig(Settings):
    """The distillation terms. Weights are applied in one visible sum: ``taco_kd.distill.recipe``."""

    features: Literal["mse", "off"] = "mse"
    """loss between backbone maps: Eq. 2 of the paper"""
    classes: Literal["softmax-kl", "sigmoid-bce", "off"] = "softmax-kl"
    """loss between class scores: Eq. 3 of the paper, or soft targets for sigmoid heads"""
    boxes: Literal["l1", "l1-giou", "off"] = "l1"
    """loss between boxes: Eq. 4 of the paper, or L1 and GIoU weighted by the teacher's score"""
    pairing: Literal["index", "hungarian"] = "index"
    """which student query answers to which teacher query"""
    feature_weight: float = Field(1.0, ge=0)
    class_weight: float = Field(0.8, ge=0)
    box_weight: float = Field(1.2, ge=0)
    temperature: float = Field(4.0, gt=0)
    """tau of Eq. 3"""
    min_teacher_score: float = Field(0.3, ge=0, le=1)
    """teacher queries below this score are not paired; not used by index pairing"""
    class_names: Literal["by-name", "by-index"] = "by-name"
    """how classes of teacher and student correspond; by-index slices to the common number (the paper)"""
    class_map: str | None = None
    """for classes that share no name: coco-to-taco, another shipped table, or a CSV file (from,to)"""


class PseudoConfig(Settings):
    """Pseudo-labelled images that are mixed into the training images."""

    data: Path
    """folder that taco-kd pseudo-label wrote"""
    weight: float = Field(0.5, gt=0, lt=1)
    """share of the images of every step that are pseudo-labelled"""


class Recipe(Settings):
    """A complete run."""

    name: str
    description: str
    student: StudentConfig = StudentConfig()
    teacher: TeacherConfig | None = None
    train: TrainConfig = TrainConfig()
    distill: DistillConfig | None = None
    pseudo: PseudoConfig | None = None


S = TypeVar("S", bound=Settings)


def validate(kind: type[S], values: Mapping[str, Any], *, where: str) -> S:
    """``values`` as settings of one kind.

    Raises:
        UsageError: an unknown key or a value out of range; names ``where``, the key and the value.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        # A misspelled key is often why another one is missing, so it is told first.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            valid = ", ".join(sorted(_fields_beside(kind, first["loc"])))
            raise UsageError(f"{where}: unknown setting {key!r}; valid here: {valid}") from None
        if first["type"] == "missing":
            raise UsageError(f"{where}: {key} is missing") from None
        raise UsageError(f"{where}: {key} = {first['input']!r}: {first['msg'].lower()}") from None


def _fields_beside(kind: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    for part in location[:-1]:
        if isinstance(part, int):
            continue  # the place in a list
        annotation: Any = kind.model_fields[part].annotation
        options = [*get_args(annotation), annotation]
        kind = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(kind.model_fields)


def recipe_names() -> list[str]:
    """Names of the recipes in the package."""
    folder = resources.files("taco_kd") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of that name or in that TOML file, with ``key=value`` overrides applied.

    >>> load_recipe("nano-baseline", ["train.lr=1e-4"]).train.lr
    0.0001

    Raises:
        UsageError: no such recipe, TOML that does not parse, an unknown key, a value out of range.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UsageError(f"{path}: no such recipe file")
        text = path.read_text(encoding="utf-8")
    elif name_or_path in recipe_names():
        text = (resources.files("taco_kd") / "recipes" / f"{name_or_path}.toml").read_text(encoding="utf-8")
    else:
        raise UsageError(one_of("recipe", name_or_path, [*recipe_names(), "a path ending in .toml"]))
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name_or_path}: not valid TOML ({error})") from None
    for override in overrides:
        _apply(values, override)
    return validate(Recipe, values, where=f"recipe {name_or_path}")


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, raw = override.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {override!r}: write it as section.key=value, for example train.lr=1e-4")
    try:
        value = tomllib.loads(f"x = {raw}")["x"]
    except tomllib.TOMLDecodeError:
        value = raw  # a bare word is a string
    *sections, last = key.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {override!r}: {section!r} is not a section")
    values[last] = value
