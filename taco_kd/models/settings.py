"""Models as a recipe asks for them: the student as it starts, and the teacher."""

from __future__ import annotations

from collections.abc import Sequence

from taco_kd.config import LoadConfig, StudentConfig, TeacherConfig
from taco_kd.models import zoo
from taco_kd.models.detector import Detector
from taco_kd.models.load_report import LoadReport


def initial_student(
    config: StudentConfig, class_names: Sequence[str], *, seed: int
) -> tuple[Detector, list[LoadReport]]:
    """The student before its first step, and the reports of what was loaded into it; see ``zoo.make``."""
    return zoo.make(
        config.model,
        class_names,
        weights=config.weights,
        backbone_from=config.backbone_from,
        seed=seed,
        image_size=config.image_size,
        options=_options(config),
    )


def teacher(config: TeacherConfig) -> tuple[Detector, LoadReport]:
    """The teacher with its own classes, and the report of its load; see ``zoo.load_reported``."""
    return zoo.load_reported(
        config.weights,
        expected_model=config.model,
        image_size=config.image_size,
        options=_options(config),
        wanted_by="--teacher",
    )


def locate(student: StudentConfig, teacher: TeacherConfig | None) -> None:
    """Make sure that all weights are on this machine, before anything is written or long work begins.

    Raises:
        UsageError: a model that does not exist, or has no such weights.
        MissingResourceError: weights are not here, nor to be had.
    """
    if not zoo.is_source(student.model):
        zoo.find(student.model)
    words = [(student.model, "--model")] if zoo.is_source(student.model) else []
    words += [(student.weights, "--weights")] if student.weights != "random" else []
    words += [(student.backbone_from, "--backbone-from")] if student.backbone_from else []
    for word, option in words:
        zoo.locate(word, model=student.model, wanted_by=option)
    if teacher is not None:
        zoo.locate(teacher.weights, model=teacher.model, wanted_by="--teacher")


def _options(config: LoadConfig) -> zoo.LoadOptions:
    return zoo.LoadOptions(
        config.allow_partial, config.strip_prefix, config.add_prefix, config.weights_classes
    )
