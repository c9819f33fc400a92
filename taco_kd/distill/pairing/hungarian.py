"""One-to-one between a student's queries and a teacher's confident ones, by class scores and boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from taco_kd.classes.class_map import ClassMap
from taco_kd.distill.pairing.matching import CLASS_COST, assign, box_cost, focal_cost
from taco_kd.distill.pairing.pairs import Pairs
from taco_kd.distill.pairing.seen import Seen
from taco_kd.types import DetectorOutput, LayerOutput


@torch.no_grad()
def by_matching(student: LayerOutput | DetectorOutput, seen: Seen, classes: ClassMap) -> Pairs:
    """Least 2 class + 5 L1 - 2 GIoU; the targets are the teacher's answers as they are.

    DETRDistill, arXiv:2211.10156, pairs so. The class cost is the focal one of DETR's matcher, in expectation
    over what the teacher takes the object for. The L1 distance of the probabilities finds the same objects,
    but more often another query than the one that the detection loss trains for it: see docs/results.
    """
    belief = seen.logits.sigmoid()
    belief = seen.padded(belief / belief.sum(-1, keepdim=True).clamp(min=1e-6))
    cost = CLASS_COST * focal_cost(classes.student_logits(student.logits)) @ belief.transpose(1, 2)
    cost += box_cost(student.boxes_cxcywh, seen.padded(seen.boxes_cxcywh))
    return matched(cost, seen, seen.logits)


def matched(cost: Tensor, seen: Seen, target_logits: Tensor) -> Pairs:
    """Pairs of least ``cost`` [B, Q, K] with ``target_logits`` [N, S] for each object of ``seen``."""
    counts = torch.bincount(seen.image, minlength=seen.images)
    image, query, place = assign(cost, counts.tolist())
    row = (counts.cumsum(0) - counts)[image] + place
    return Pairs(image, query, seen.query[row], seen.score[row], target_logits[row], seen.boxes_cxcywh[row])
