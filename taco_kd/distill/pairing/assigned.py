"""One query for both losses: the one that the detection loss trains for an object learns from the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taco_kd.classes.class_map import ClassMap
from taco_kd.distill.pairing.matching import assign, box_cost, label_cost
from taco_kd.distill.pairing.objects import TrueObjects
from taco_kd.distill.pairing.pairs import Pairs
from taco_kd.distill.pairing.seen import padded
from taco_kd.types import DetectorOutput, LayerOutput, Targets

NOBODY = -1


@torch.no_grad()
def by_assignment(
    student: LayerOutput | DetectorOutput,
    teacher: DetectorOutput,
    targets: Sequence[Targets],
    objects: TrueObjects,
    classes: ClassMap,
) -> Pairs:
    """For each true object that the teacher sees: the query that DETR's matcher assigns to it.

    A matching with the teacher's boxes can choose another query than the matching with the true ones; then
    the distillation trains one query for an object and the detection loss trains it to be silent. Here this
    cannot happen. What the teacher sees beside the truth is not taught.
    """
    own = assigned_queries(student, targets)[objects.image, objects.place]
    kept = (own != NOBODY) & (objects.query >= 0)
    image, query = objects.image[kept], objects.query[kept]
    logits = classes.teacher_logits(teacher.logits[image, query]).float()
    boxes = teacher.boxes_cxcywh[image, query].float()
    return Pairs(image, own[kept], query, objects.score[kept], logits, boxes)


@torch.no_grad()
def assigned_queries(student: LayerOutput | DetectorOutput, targets: Sequence[Targets]) -> Tensor:
    """[B, G]: the query of each true object in the detection loss of RT-DETR; -1 where there is none."""
    counts = torch.tensor([len(t.class_ids) for t in targets], device=student.logits.device)
    image = torch.arange(len(targets), device=counts.device).repeat_interleave(counts)
    place = torch.arange(len(image), device=counts.device) - (counts.cumsum(0) - counts)[image]
    boxes = padded(torch.cat([t.boxes_cxcywh for t in targets]).float(), image, place, len(targets))
    class_ids = padded(torch.cat([t.class_ids for t in targets]), image, place, len(targets))
    cost = label_cost(student.logits, class_ids) + box_cost(student.boxes_cxcywh, boxes)
    found = torch.full_like(class_ids, NOBODY)
    image, query, place = assign(cost, counts.tolist())
    found[image, place] = query
    return found
