"""Models as a recipe asks for them: the student as it starts, and the teacher."""

from __future__ import annotations

from collections.abc import Sequence

from taco_kd.config import LoadConfig, StudentConfig, TeacherConfig
from taco_kd.errors import UsageError
from taco_kd.models import zoo
from taco_kd.models.detector import Detector, FeatureModel
from taco_kd.models.dinov3 import DinoV3ViT
from taco_kd.models.feature_zoo import is_feature_model, locate_features, make_features
from taco_kd.models.load_report import LoadReport
from taco_kd.models.rtdetr import RTDetr


def initial_student(
    config: StudentConfig, class_names: Sequence[str], *, seed: int
) -> tuple[Detector, list[LoadReport]]:
    """The student before its first step, and the reports of what was loaded into it; see ``zoo.make``."""
    student, reports = zoo.make(
        config.model,
        class_names,
        weights=config.weights,
        backbone_from=config.backbone_from,
        seed=seed,
        image_size=config.image_size,
        options=_options(config),
    )
    if isinstance(student, RTDetr):
        student.refinement = config.refinement
    elif config.refinement != "detached":
        raise UsageError(f"student.refinement is a setting of RT-DETR, not of {config.model}")
    return student, reports


def teacher(config: TeacherConfig) -> tuple[Detector | FeatureModel, list[LoadReport]]:
    """The teacher with its own classes, and what was loaded; see ``zoo.load_reported``, ``make_features``."""
    if is_feature_model(config.model):
        if config.image_size is not None:
            raise UsageError("teacher.image_size: a feature teacher sees the student's own images")
        features, reports = make_features(
            config.model, weights=config.weights, allow_partial=config.allow_partial
        )
        if isinstance(features, DinoV3ViT):
            features.tokens = config.tokens
        elif config.tokens != "grid":
            raise UsageError(f"teacher.tokens is a setting of a DINOv3 ViT, not of {config.model}")
        return features, reports
    if config.tokens != "grid":
        raise UsageError(f"teacher.tokens is a setting of a DINOv3 ViT, not of {config.model}")
    model, report = zoo.load_reported(
        config.weights,
        expected_model=config.model,
        image_size=config.image_size,
        options=_options(config),
        wanted_by="--teacher",
    )
    return model, [report]


def locate(student: StudentConfig, teachers: Sequence[TeacherConfig]) -> None:
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
    for teacher in teachers:
        if is_feature_model(teacher.model):
            locate_features(teacher.model, teacher.weights)
        else:
            zoo.locate(teacher.weights, model=teacher.model, wanted_by="--teacher")


def _options(config: LoadConfig) -> zoo.LoadOptions:
    return zoo.LoadOptions(
        config.allow_partial, config.strip_prefix, config.add_prefix, config.weights_classes
    )
