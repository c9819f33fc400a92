"""Which student query answers to which teacher query."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou

from taco_kd.classes.class_map import ClassMap
from taco_kd.types import DetectorOutput


@dataclass(frozen=True)
class Pairs:
    """P pairs: image [P], student query [P], teacher query [P], teacher score [P]."""

    image: Tensor
    student: Tensor
    teacher: Tensor
    score: Tensor

    def __len__(self) -> int:
        return len(self.image)


def _scores(teacher: DetectorOutput, classes: ClassMap) -> Tensor:
    return classes.teacher_confidence(teacher.logits)  # [B, Q_T]


@torch.no_grad()
def by_index(student: DetectorOutput, teacher: DetectorOutput, classes: ClassMap) -> Pairs:
    """Query i to query i, as the paper does. Queries of two models have no common order: see docs."""
    images = len(student.logits)
    queries = min(student.logits.shape[1], teacher.logits.shape[1])
    device = student.logits.device
    image = torch.arange(images, device=device).repeat_interleave(queries)
    query = torch.arange(queries, device=device).repeat(images)
    return Pairs(image, query, query, _scores(teacher, classes)[:, :queries].flatten())


@torch.no_grad()
def hungarian(
    student: DetectorOutput, teacher: DetectorOutput, classes: ClassMap, *, min_score: float
) -> Pairs:
    """One-to-one, at least cost 2 class + 5 L1 + 2 (-GIoU), over the teacher's confident queries.

    DETRDistill, arXiv:2211.10156, pairs so; the costs are those DETR's matcher uses, arXiv:2005.12872.
    """
    scores = _scores(teacher, classes)
    device = student.logits.device
    columns: list[list[Tensor]] = [[], [], [], []]
    for b in range(len(scores)):
        confident = torch.nonzero(scores[b] >= min_score).flatten()
        if len(confident) == 0:
            continue
        wanted = classes.teacher_logits(teacher.logits[b, confident]).float().sigmoid()
        own = classes.student_logits(student.logits[b]).float().sigmoid()
        class_cost = torch.cdist(own, wanted, p=1)
        boxes_s, boxes_t = student.boxes_cxcywh[b].float(), teacher.boxes_cxcywh[b, confident].float()
        overlap = generalized_box_iou(
            box_convert(boxes_s, "cxcywh", "xyxy"), box_convert(boxes_t, "cxcywh", "xyxy")
        )
        cost = 2 * class_cost + 5 * torch.cdist(boxes_s, boxes_t, p=1) - 2 * overlap
        rows, cols = linear_sum_assignment(cost.cpu().nan_to_num(1e4).numpy())
        taken = confident[torch.as_tensor(cols, device=device)]
        columns[0].append(torch.full((len(rows),), b, device=device))
        columns[1].append(torch.as_tensor(rows, device=device))
        columns[2].append(taken)
        columns[3].append(scores[b, taken])
    if not columns[0]:
        none = torch.zeros(0, dtype=torch.long, device=device)
        return Pairs(none, none, none, torch.zeros(0, device=device))
    image, own_query, teacher_query, score = (torch.cat(column) for column in columns)
    return Pairs(image, own_query, teacher_query, score)
