"""The teacher's boxes as a second ground truth: Teach-DETR, Huang et al., arXiv:2211.11953."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from taco_kd.classes.class_map import ClassMap
from taco_kd.distill.pairing.hungarian import matched
from taco_kd.distill.pairing.matching import box_cost, label_cost
from taco_kd.distill.pairing.pairs import HARD_LOGIT, Pairs
from taco_kd.distill.pairing.seen import Seen
from taco_kd.types import DetectorOutput, LayerOutput


def hard_logits(class_ids: Tensor, classes: int) -> Tensor:
    """[N, S] logits that say class ``class_ids`` [N] and nothing else."""
    return (2.0 * F.one_hot(class_ids, classes) - 1.0) * HARD_LOGIT


@torch.no_grad()
def by_pseudo_truth(student: LayerOutput | DetectorOutput, seen: Seen, classes: ClassMap) -> Pairs:
    """DETR's own matcher, 2 focal + 5 L1 - 2 GIoU, on the teacher's best class and box of each object.

    The targets are hard: its best class and no other. How sure it was is left to ``Pairs.score``.
    """
    labels = seen.logits.argmax(-1)  # [N], in the shared classes
    cost = label_cost(classes.student_logits(student.logits), seen.padded(labels))
    cost += box_cost(student.boxes_cxcywh, seen.padded(seen.boxes_cxcywh))
    return matched(cost, seen, hard_logits(labels, len(classes.student)))
