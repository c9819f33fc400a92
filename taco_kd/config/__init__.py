"""Typed settings: a recipe is one TOML file; flags and ``--set key=value`` override it; no unknown keys.

The text under each field is its documentation, and the help of the flag that sets it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator
from typing_extensions import Self

from taco_kd.config.augment import AugmentConfig
from taco_kd.config.base import Settings
from taco_kd.config.distill import DistillConfig
from taco_kd.config.train import TrainConfig
from taco_kd.errors import UsageError, one_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class PrepareConfig(Settings):
    """How raw images become a dataset."""

    source: Literal["auto", "synthetic", "coco", "taco", "yolo", "voc"] = "auto"
    """where the images come from; auto recognises what the other options point at"""
    root: Path | None = None
    """folder of a dataset in TACO's, YOLO's, Pascal VOC's or COCO's layout"""
    images: Path | None = None
    """folder of images of a COCO dataset"""
    annotations: Path | None = None
    """COCO annotation file"""
    size: int = Field(640, ge=32, le=4096)
    """side in pixels of the square output images"""
    hash_threshold: int = Field(4, ge=0, le=256)
    """perceptual hashes at most this many bits apart are candidate duplicates; the pixels decide"""
    hash: Literal["phash", "dhash", "whash"] = "phash"
    """perceptual hash that finds candidate duplicates"""
    hash_size: int = Field(8, ge=4, le=32)
    """side of the hash in bits: 8 makes 64 bits; with another size choose another hash_threshold"""
    near: Literal["hash", "embeddings"] = "hash"
    """embeddings: candidates by the vectors of a backbone too, besides those by hash"""
    near_model: str = "rtdetr-nano"
    """that backbone: a name in the model list, a run or transformers folder, a weights file"""
    near_threshold: float = Field(0.97, gt=0, le=1)
    """vectors with at least this cosine, once their common mean is off, are candidates"""
    quarantine: bool = False
    """keep images that are missing or cannot be used out of the dataset, listed with the reason, instead of
    stopping at the first"""
    check_labels: bool = True
    """look whether the outlines lie on edges in the pixels, or would if they were turned"""
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
    mode: Literal["stretch", "letterbox"] = "stretch"
    """resize to the square by stretching (the paper), or keep proportions and pad with grey"""
    truncate_boxes: bool = False
    """cut boxes to whole pixels of the output images, as the authors of RT-CO-DETR did"""
    class_map: str | None = None
    """coarser classes: taco-1, taco-10, taco-28, supercategories, or a CSV file (from,to)"""
    keep_split: bool = False
    """keep the train and val parts of the source instead of splitting anew"""
    ids: str | None = None
    """images of val: taco-paper-225, or a text file with an image id or file name a line"""
    stratify: bool = False
    """give both parts the same share of each class, as nearly as can be (iterative stratification)"""
    group_by: Literal["duplicates", "batch", "time", "scene"] | None = None
    """images that stay on one side of the split: look-alikes, folders, shots in a row, scenes"""
    kfold: int | None = Field(None, ge=2, le=100)
    """cut into this many parts, of which one is val, instead of by train_ratio"""
    fold: int = Field(0, ge=0)
    """which of the kfold parts is val, from 0"""


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
    tokens: Literal["grid", "as-released"] = "grid"
    """how the tokens of a DINOv3 ViT become a map: patches on their grid, or as the paper's code does it,
    with the registers left in and the list resized as a line (which scrambles it)"""


class LessonConfig(Settings):
    """One of several teachers."""

    teacher: TeacherConfig
    distill: DistillConfig
    weight: float = Field(1.0, ge=0)
    """multiplies the weight of each of its terms"""


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
    distill: DistillConfig | None = None
    also: tuple[LessonConfig, ...] = ()
    """further teachers of the same student, each with losses of its own"""
    pretrain: TrainConfig | None = None
    """a stage before: the student learns from the teachers alone, without labels, and [train] then goes on
    from there with the labels alone; seed, device and hold_out are those of [train]"""
    train: TrainConfig = TrainConfig()
    labels: bool = True
    """false leaves the detection loss out: the teachers alone teach"""
    pseudo: PseudoConfig | None = None
    """pseudo-labelled images that are mixed in"""

    def lessons(self) -> list[LessonConfig]:
        """All teachers with their losses, the first one first; none for a run without distillation."""
        first = [LessonConfig(teacher=self.teacher, distill=self.distill)] if self.teacher else []
        return [*first, *self.also]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.teacher is None) != (self.distill is None):
            raise ValueError("[teacher] and [distill] go together; one of them is missing")
        if self.teacher is None and self.also:
            raise ValueError(
                "[[also]] names further teachers; the first one is missing: [teacher], [distill]"
            )
        if self.teacher is None and self.pretrain is not None:
            raise ValueError("[pretrain] is a stage with a teacher; [teacher] and [distill] are missing")
        before = self.pretrain
        if before and (before.keep == "best" or before.patience is not None or before.choose_on == "val"):
            raise ValueError(
                "keep, patience and choose_on are settings of [train]; the stage before is not evaluated"
            )
        if not self.labels and (self.teacher is None or self.pretrain is not None):
            raise ValueError("labels = false needs a [teacher] to learn from, and no [pretrain]")
        calibrated = any(lesson.distill.weighting == "calibrated" for lesson in self.lessons())
        if calibrated and (not self.labels or self.pretrain is not None):
            raise ValueError("distill.weighting = calibrated needs the detection loss beside it; set fixed")
        return self


__all__ = [
    "AugmentConfig",
    "DistillConfig",
    "LessonConfig",
    "LoadConfig",
    "PrepareConfig",
    "PseudoConfig",
    "Recipe",
    "Settings",
    "StudentConfig",
    "TeacherConfig",
    "TrainConfig",
    "load_recipe",
    "recipe_names",
    "validate",
]

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
        if first["type"] == "value_error":  # settings that contradict each other
            raise UsageError(f"{where}: {key + ': ' if key else ''}{first['ctx']['error']}") from None
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


def recipe_text(name_or_path: str) -> str:
    """The TOML of the recipe of that name or in that file; UsageError where there is none."""
    path = Path(name_or_path)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UsageError(f"{path}: no such recipe file")
        return path.read_text(encoding="utf-8")
    if name_or_path in recipe_names():
        return (resources.files("taco_kd") / "recipes" / f"{name_or_path}.toml").read_text(encoding="utf-8")
    raise UsageError(one_of("recipe", name_or_path, [*recipe_names(), "a path ending in .toml"]))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of that name or in that TOML file, with ``key=value`` overrides applied.

    >>> load_recipe("nano-baseline", ["train.lr=1e-4"]).train.lr
    0.0001

    Raises:
        UsageError: no such recipe, TOML that does not parse, an unknown key, a value out of range.
    """
    text = recipe_text(name_or_path)
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
    table: Any = values
    for section in sections:
        if isinstance(table, list):  # also.0 is the first of the further teachers
            table = table[int(section)] if section.isdigit() and int(section) < len(table) else None
        else:
            table = table.setdefault(section, {})
        if not isinstance(table, dict | list):
            raise UsageError(f"--set {override!r}: {section!r} is not a section")
    if isinstance(table, list):
        raise UsageError(f"--set {override!r}: {sections[-1]!r} is a list; name the place in it")
    table[last] = value
