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
    """

    teacher: Tensor
    student: Tensor
    nearest: Tensor
    assigned: Tensor

    def right(self, student: Tensor) -> Tensor:
        """[P] bool: the teacher sees an object, and ``student`` (one of the columns) names the same."""
        return (self.teacher != NOTHING) & (self.teacher == student)


@torch.no_grad()
def judge(pairs: Pairs, student: LayerOutput | DetectorOutput, targets: Sequence[Targets]) -> Judgement:
    """Who sees what. ``student`` is what was paired: its output or one layer, or the injected answers."""
    columns = [torch.full_like(pairs.image, NOTHING) for _ in range(4)]
    assigned = assigned_queries(student, targets)
    for b, target in enumerate(targets):
        here = pairs.image == b
        if not here.any() or len(target.class_ids) == 0:
            continue
        true = box_convert(target.boxes_cxcywh.float(), "cxcywh", "xyxy")
        query = pairs.student[here]
        boxes = box_convert(student.boxes_cxcywh[b].float(), "cxcywh", "xyxy")
        columns[0][here] = _seen(box_convert(pairs.target_boxes[here], "cxcywh", "xyxy"), true)
        columns[1][here] = _seen(boxes[query], true)
        columns[2][here] = generalized_box_iou(boxes[query], true).argmax(1)
        trained, place = (query[:, None] == assigned[b, : len(target.class_ids)]).max(1)
        columns[3][here] = torch.where(trained, place, NOTHING)
    return Judgement(*columns)


def _seen(boxes_xyxy: Tensor, true_xyxy: Tensor) -> Tensor:
    overlap, best = box_iou(boxes_xyxy, true_xyxy).max(1)
    return torch.where(overlap >= SEEN_IOU, best, NOTHING)
