"""From settings to one weighted sum: the distillation terms of a step.

L_total = L_student + l_feat L_feat + l_cls L_cls + l_box L_box (Eq. 1 of RT-CO-DETR)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taco_kd.classes.class_map import ClassMap
from taco_kd.classes.tables import read_table
from taco_kd.config import DistillConfig
from taco_kd.distill import pairing
from taco_kd.distill.losses.l1 import l1
from taco_kd.distill.losses.l1_giou import l1_giou
from taco_kd.distill.losses.mse import MSE
from taco_kd.distill.losses.sigmoid_bce import sigmoid_bce
from taco_kd.distill.losses.softmax_kl import softmax_kl
from taco_kd.errors import UsageError
from taco_kd.models.detector import Detector, FeatureModel
from taco_kd.types import DetectorOutput


@dataclass(frozen=True)
class DistillTerms:
    """Terms of one step by name: ``raw`` as the loss returns them, ``weighted`` as they enter the sum."""

    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]
    pairs: int


def class_map(config: DistillConfig, student: Sequence[str], teacher: Sequence[str]) -> ClassMap:
    """Which student class is which teacher class, as the settings say.

    Raises:
        UsageError: no class is shared, or a table names an unknown one.
        DataError: the table cannot be read.
    """
    if config.class_names == "by-index":
        return ClassMap.by_index(student, teacher)
    table = read_table(config.class_map) if config.class_map is not None else None
    return ClassMap.between(student, teacher, table)


def _check_pairing(config: DistillConfig, student: Detector, teacher: Detector) -> None:
    """UsageError where query i of one model cannot mean anything to query i of the other."""
    if config.pairing != "index":
        return
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


class Distiller(nn.Module):
    """A frozen teacher and the losses that compare a student with it. Owns the projections (trained).

    Args:
        config: which losses, their weights, the pairing.
        student: only its class names and feature levels are read here.
        teacher: put into eval mode and frozen. A feature teacher has no classes and no boxes.

    Raises:
        UsageError: the terms ask a feature teacher for classes or boxes, or for nothing at all; or these two
            models cannot be paired as the settings say, or share no class.
    """

    def __init__(self, config: DistillConfig, student: Detector, teacher: Detector | FeatureModel) -> None:
        super().__init__()
        self.config = config
        # In a list, so not a child: the teacher is neither trained, nor saved, nor set to train().
        self._teacher = [teacher.eval().requires_grad_(False)]
        self.needs_predictions = config.classes != "off" or config.boxes != "off"
        self.classes = ClassMap([], [])
        if isinstance(teacher, FeatureModel):
            if self.needs_predictions or config.features == "off":
                raise UsageError(
                    f"{teacher.model_name} teaches features only: "
                    "set distill.classes=off, distill.boxes=off and distill.features=mse"
                )
        elif self.needs_predictions:
            _check_pairing(config, student, teacher)
            self.classes = class_map(config, student.class_names, teacher.class_names)
        self._class_names = (student.class_names, teacher.class_names)
        self.feature_loss = (
            MSE(student.features_spec, teacher.features_spec) if config.features != "off" else None
        )

    @property
    def teacher(self) -> Detector | FeatureModel:
        return self._teacher[0]

    def class_pairs(self) -> dict[str, str]:
        """Which student class learns from which teacher classes, by name; for the record."""
        return dict(self.classes.names(*self._class_names))

    @property
    def with_features(self) -> bool:
        """Whether the student's forward must hand out its backbone maps."""
        return self.feature_loss is not None

    @torch.no_grad()
    def teacher_output(self, images: Tensor) -> DetectorOutput:
        """One forward of the teacher on ``images`` [B, 3, H, W] in 0..1.

        A detector sees them at its own input size. A feature teacher takes any size, so it sees the very
        pixels of the student; its answer has no query.
        """
        teacher = self.teacher
        if isinstance(teacher, FeatureModel):
            none = images.new_zeros(len(images), 0, 0)
            return DetectorOutput(none, images.new_zeros(len(images), 0, 4), teacher(images))
        side = teacher.image_size
        if images.shape[-2:] != (side, side):
            images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
        output: DetectorOutput = teacher(images, with_features=self.with_features)
        if self.needs_predictions and self.config.pairing == "hungarian":
            return teacher.as_queries(output)  # one-to-one needs at most one query for an object
        return output

    def forward(self, student: DetectorOutput, teacher: DetectorOutput) -> DistillTerms:
        """The distillation terms of a step; gradients reach the student and the projections only."""
        config, raw, pairs = self.config, dict[str, Tensor](), 0
        if self.feature_loss is not None:
            raw["kd_features"] = self.feature_loss(student.features, teacher.features)
        if self.needs_predictions:
            found = self._pair(student, teacher)
            pairs = len(found)
            logits_s = self.classes.student_logits(student.logits[found.image, found.student])
            logits_t = self.classes.teacher_logits(teacher.logits[found.image, found.teacher])
            boxes_s = student.boxes_cxcywh[found.image, found.student]
            boxes_t = teacher.boxes_cxcywh[found.image, found.teacher]
            if config.classes == "softmax-kl":
                raw["kd_classes"] = softmax_kl(logits_s, logits_t, temperature=config.temperature)
            elif config.classes == "sigmoid-bce":
                raw["kd_classes"] = sigmoid_bce(logits_s, logits_t.sigmoid(), found.score)
            if config.boxes == "l1":
                raw["kd_boxes"] = l1(boxes_s, boxes_t)
            elif config.boxes == "l1-giou":
                raw["kd_boxes"] = l1_giou(boxes_s, boxes_t, found.score)
        weights = {
            "kd_features": config.feature_weight,
            "kd_classes": config.class_weight,
            "kd_boxes": config.box_weight,
        }
        return DistillTerms(raw, {name: weights[name] * term for name, term in raw.items()}, pairs)

    def _pair(self, student: DetectorOutput, teacher: DetectorOutput) -> pairing.Pairs:
        if self.config.pairing == "index":
            return pairing.by_index(student, teacher, self.classes)
        return pairing.hungarian(student, teacher, self.classes, min_score=self.config.min_teacher_score)
