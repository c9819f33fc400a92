"""What a teacher sees in a batch: its confident queries, one for each object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_convert

from taco_kd.classes.class_map import ClassMap
from taco_kd.distill.pairing.pairs import PairingSettings
from taco_kd.types import DetectorOutput


@dataclass(frozen=True)
class Seen:
    """N objects in B images, image by image, the most confident first.

    Attributes:
        image: [N] index in the batch.
        place: [N] rank in its image, from 0.
        query: [N] of the teacher.
        score: [N] the best shared class, 0..1.
        logits: [N, S] over the shared classes.
        boxes_cxcywh: [N, 4] in 0..1.
        images: B.
    """

    image: Tensor
    place: Tensor
    query: Tensor
    score: Tensor
    logits: Tensor
    boxes_cxcywh: Tensor
    images: int

    def padded(self, values: Tensor) -> Tensor:
        """``values`` [N, ...] as [B, K, ...], K the most objects of an image; zeros where there is none."""
        return padded(values, self.image, self.place, self.images)


def padded(values: Tensor, image: Tensor, place: Tensor, images: int) -> Tensor:
    """[N, ...] as [B, K, ...]: row n goes to ``image[n], place[n]``; zeros elsewhere."""
    most = int(place.max()) + 1 if len(place) else 0
    table = values.new_zeros(images, most, *values.shape[1:])
    table[image, place] = values
    return table


def best_of_each_image(image: Tensor, score: Tensor, images: int, most: int) -> tuple[Tensor, Tensor]:
    """Order [N'] by image and falling score, at most ``most`` an image, and the rank [N'] in the image."""
    by_score = score.argsort(descending=True, stable=True)
    order = by_score[image[by_score].argsort(stable=True)]
    counts = torch.bincount(image, minlength=images)
    first = counts.cumsum(0) - counts
    place = torch.arange(len(order), device=image.device) - first[image[order]]
    kept = place < most
    return order[kept], place[kept]


@torch.no_grad()
def seen_by(teacher: DetectorOutput, classes: ClassMap, settings: PairingSettings) -> Seen:
    """The confident queries of ``teacher``, without duplicates.

    A DETR learns to find an object once, but an unfinished one does so several times, and one-to-one
    pairings would give each of these a student query of its own.
    """
    scores = classes.teacher_confidence(teacher.logits)  # [B, Q]
    image, query = (scores >= settings.min_score).nonzero(as_tuple=True)
    score, boxes = scores[image, query], teacher.boxes_cxcywh[image, query].float()
    kept = batched_nms(box_convert(boxes, "cxcywh", "xyxy"), score, image, settings.duplicate_iou)
    image, query, score, boxes = image[kept], query[kept], score[kept], boxes[kept]
    order, place = best_of_each_image(image, score, len(scores), settings.max_queries)
    image, query = image[order], query[order]
    logits = classes.teacher_logits(teacher.logits[image, query]).float()
    return Seen(image, place, query, score[order], logits, boxes[order], len(scores))
