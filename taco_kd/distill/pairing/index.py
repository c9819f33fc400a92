"""Query i to query i, as RT-CO-DETR does it."""

from __future__ import annotations

import torch

from taco_kd.classes.class_map import ClassMap
from taco_kd.distill.pairing.pairs import Pairs
from taco_kd.types import DetectorOutput, LayerOutput


@torch.no_grad()
def by_index(student: LayerOutput | DetectorOutput, teacher: DetectorOutput, classes: ClassMap) -> Pairs:
    """Every query to the one of its number, although queries of two models have no common order."""
    images = len(student.logits)
    queries = min(student.logits.shape[1], teacher.logits.shape[1])
    logits, boxes = teacher.logits[:, :queries].flatten(0, 1), teacher.boxes_cxcywh[:, :queries].flatten(0, 1)
    image = torch.arange(images, device=logits.device).repeat_interleave(queries)
    query = torch.arange(queries, device=logits.device).repeat(images)
    wanted = classes.teacher_logits(logits).float()
    return Pairs(image, query, query, classes.teacher_confidence(logits), wanted, boxes.float())
