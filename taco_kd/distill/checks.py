"""Whether two models have what the settings of a lesson ask of them."""

from __future__ import annotations

from taco_kd.config import DistillConfig
from taco_kd.errors import UsageError
from taco_kd.models.detector import Detector, FeatureModel


def predicts(config: DistillConfig) -> bool:
    """Whether predictions are taught, and not maps alone."""
    return config.classes != "off" or config.boxes != "off"


def check_lesson(config: DistillConfig, student: Detector, teacher: Detector | FeatureModel) -> None:
    """UsageError where the settings ask one of the models for what it has not, with the way out."""
    if not config.terms():
        raise UsageError(
            "distillation without a term: set one of distill.features, classes, boxes, attention"
        )
    if isinstance(teacher, FeatureModel):
        if config.terms() != ["features"]:
            raise UsageError(
                f"{teacher.model_name} teaches features only: set distill.classes=off, distill.boxes=off, "
                "distill.attention=off and distill.features=mse"
            )
    elif config.attention != "off" and "attention" not in teacher.offers:
        raise UsageError(f"distill.attention: {teacher.model_name} has no encoder self-attention to teach by")
    name = student.model_name
    if config.features != "off" and config.maps == "encoder" and "encoder" not in student.offers:
        raise UsageError(f"distill.maps=encoder: {name} hands out no encoder maps; set distill.maps=backbone")
    if config.attention != "off" and "attention" not in student.offers:
        raise UsageError(f"distill.attention: {name} has no encoder self-attention; set it to off")
    if predicts(config) and config.pairing == "injected" and not student.takes_queries:
        raise UsageError(
            f"distill.pairing=injected: {name} takes no queries beside its own, which needs RT-DETR with "
            "denoising; set distill.pairing=hungarian"
        )
    if predicts(config) and config.pairing == "assigned" and student.dense:
        raise UsageError(
            f"distill.pairing=assigned: the loss of {name} assigns several places to an object, and not one "
            "query; set distill.pairing=hungarian"
        )
    if isinstance(teacher, Detector) and predicts(config) and config.pairing == "index":
        _check_index(student, teacher)


def _check_index(student: Detector, teacher: Detector) -> None:
    """UsageError where query i of one model cannot mean anything to query i of the other."""
    if student.dense and teacher.dense and student.image_size != teacher.image_size:
        raise UsageError(
            f"distill.pairing=index pairs place i with place i, and at {student.image_size} px "
            f"{student.model_name} has others than {teacher.model_name} at {teacher.image_size} px; "
            "use --set distill.pairing=hungarian, or one size"
        )
    if student.dense != teacher.dense:
        dense, other = (student, teacher) if student.dense else (teacher, student)
        raise UsageError(
            f"distill.pairing=index pairs query i with query i, but a query of {dense.model_name} is a place "
            f"in the image and one of {other.model_name} is not; use --set distill.pairing=hungarian"
        )
