"""A detector of other classes, evaluated in those of a student."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from taco_kd.classes.class_map import ClassMap
from taco_kd.models.detector import Detector
from taco_kd.types import Detections, DetectorOutput, Targets


class MappedTeacher(Detector):
    """A teacher that answers in those of the student's classes that have a partner among its own."""

    family = "mapped"

    def __init__(self, teacher: Detector, classes: ClassMap, student_names: Sequence[str]) -> None:
        super().__init__(
            teacher.network,
            class_names=[student_names[i] for i in classes.student],
            model_name=teacher.model_name,
            image_size=teacher.image_size,
            features_spec=teacher.features_spec,
        )
        self._teacher, self._classes = teacher, classes

    def forward(
        self, images: Tensor, targets: Sequence[Targets] | None = None, **asked: bool
    ) -> DetectorOutput:
        """Its predictions; it has no loss and hands out no maps."""
        del targets, asked
        output: DetectorOutput = self._teacher(images)
        return DetectorOutput(self._classes.teacher_logits(output.logits), output.boxes_cxcywh)

    def decode(
        self, output: DetectorOutput, *, width: float, height: float, top_k: int = 100
    ) -> list[Detections]:
        """As the teacher's family does."""
        return self._teacher.decode(output, width=width, height=height, top_k=top_k)
