"""One-to-one between a student's queries and a teacher's confident ones, by class scores and boxes."""

from __future__ import annotations

import torch

from taco_kd.classes.class_map import ClassMap
from taco_kd.distill.pairing.matching import CLASS_COST, assign, box_cost
from taco_kd.distill.pairing.pairs import Pairs
from taco_kd.distill.pairing.seen import Seen
from taco_kd.types import DetectorOutput, LayerOutput


@torch.no_grad()
def by_matching(student: LayerOutput | DetectorOutput, seen: Seen, classes: ClassMap) -> Pairs:
    """Least 2 class + 5 L1 - 2 GIoU; the class cost is the L1 distance of the probabilities.

    DETRDistill, arXiv:2211.10156, pairs so; the costs are those of DETR's matcher, arXiv:2005.12872, with
    soft targets in place of labels. The targets are the teacher's answers as they are.
    """
    own = classes.student_logits(student.logits).float().sigmoid()
    wanted = seen.padded(seen.logits.sigmoid())
    cost = CLASS_COST * torch.cdist(own, wanted, p=1)
    cost += box_cost(student.boxes_cxcywh, seen.padded(seen.boxes_cxcywh))
    return matched(cost, seen, seen.logits)


def matched(cost: torch.Tensor, seen: Seen, target_logits: torch.Tensor) -> Pairs:
    """Pairs of least ``cost`` [B, Q, K] with ``target_logits`` [N, S] for each object of ``seen``."""
    counts = seen.counts()
    queries = cost.shape[1]
    own, place = assign(cost, counts)
    taken = torch.tensor([min(n, queries) for n in counts], device=cost.device)
    image = torch.arange(len(counts), device=cost.device).repeat_interleave(taken)
    first = torch.tensor(counts, device=cost.device).cumsum(0) - torch.tensor(counts, device=cost.device)
    row = first[image] + place
    return Pairs(image, own, seen.query[row], seen.score[row], target_logits[row], seen.boxes_cxcywh[row])
