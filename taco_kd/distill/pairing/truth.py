"""Which pairs are right, where the truth is known: both queries see the same true object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou, generalized_box_iou

from taco_kd.distill.pairing.assigned import assigned_queries
from taco_kd.distill.pairing.pairs import Pairs
from taco_kd.types import DetectorOutput, LayerOutput, Targets

SEEN_IOU = 0.5
"""a box sees the true object that it overlaps most, if by at least this much"""

NOTHING = -1
"""in ``Judgement``: no true object"""


@dataclass(frozen=True)
class Judgement:
    """For P pairs, the true object [P] of the image (index in its ``Targets``), or ``NOTHING``.

    Attributes:
        teacher: the object that the teacher's box sees (IoU at least 0.5).
        student: the object that the student's box sees (the same rule).
        nearest: the object that is nearest to the student's box (greatest GIoU), for students whose boxes
            see nothing yet.
        assigned: the object to which DETR's matcher assigns the student's query in the detection loss.
        teacher_iou, student_iou: overlap of both boxes with the object that the teacher sees; 0 without one.
    """

    teacher: Tensor
    student: Tensor
    nearest: Tensor
    assigned: Tensor
    teacher_iou: Tensor
    student_iou: Tensor

    def right(self, student: Tensor) -> Tensor:
        """[P] bool: the teacher sees an object, and ``student`` (one of the columns) names the same."""
        return (self.teacher != NOTHING) & (self.teacher == student)


@torch.no_grad()
def judge(pairs: Pairs, student: LayerOutput | DetectorOutput, targets: Sequence[Targets]) -> Judgement:
    """Who sees what. ``student`` is what was paired: its output or one layer, or the injected answers."""
    columns = [torch.full_like(pairs.image, NOTHING) for _ in range(4)]
    overlaps = [torch.zeros_like(pairs.score) for _ in range(2)]
    assigned = assigned_queries(student, targets)
    for b, target in enumerate(targets):
        here = pairs.image == b
        if not here.any() or len(target.class_ids) == 0:
            continue
        true = box_convert(target.boxes_cxcywh.float(), "cxcywh", "xyxy")
        query = pairs.student[here]
        own = box_convert(student.boxes_cxcywh[b, query].float(), "cxcywh", "xyxy")
        wanted = box_convert(pairs.target_boxes[here], "cxcywh", "xyxy")
        columns[0][here], overlaps[0][here] = _seen(box_iou(wanted, true))
        columns[1][here], _ = _seen(box_iou(own, true))
        columns[2][here] = generalized_box_iou(own, true).argmax(1)
        trained, place = (query[:, None] == assigned[b, : len(target.class_ids)]).max(1)
        columns[3][here] = torch.where(trained, place, NOTHING)
        there = box_iou(own, true).gather(1, columns[0][here].clamp(min=0)[:, None]).flatten()
        overlaps[1][here] = torch.where(columns[0][here] == NOTHING, 0.0, there)
    return Judgement(*columns, *overlaps)


def _seen(overlap: Tensor) -> tuple[Tensor, Tensor]:
    """For [P, G] IoUs the object that each box sees, and how well."""
    most, best = overlap.max(1)
    seen = most >= SEEN_IOU
    return torch.where(seen, best, NOTHING), torch.where(seen, most, 0.0)
