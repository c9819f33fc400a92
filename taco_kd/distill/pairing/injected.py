"""Queries that the student is given: what the teacher sees and the ground truth, each with a known answer.

Nobody has to guess which student query answers to which teacher query: the teacher's box and class, with
noise, are what the query begins with. Ours for RT-DETR; near to the shared queries of KD-DETR
(arXiv:2211.08071), the fixed matching of D3ETR (arXiv:2211.09768) and the denoising of DN-DETR
(arXiv:2203.01305), whose noise it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_convert

from taco_kd.classes.class_map import ClassMap
from taco_kd.distill.pairing.objects import TrueObjects, true_objects
from taco_kd.distill.pairing.pairs import GROUND_TRUTH, PairingSettings, Pairs
from taco_kd.distill.pairing.pseudo_gt import hard_logits
from taco_kd.distill.pairing.seen import Seen, best_of_each_image, padded, seen_by
from taco_kd.types import DetectorOutput, QueryGroup, Targets


@dataclass(frozen=True)
class _Queries:
    """N queries before padding; ``begin`` and ``class_ids`` (of the student) before noise."""

    image: Tensor
    begin: Tensor
    class_ids: Tensor
    teacher: Tensor
    score: Tensor
    logits: Tensor
    boxes: Tensor

    def __getitem__(self, rows: Tensor) -> _Queries:
        return _Queries(*(column[rows] for column in vars(self).values()))


@torch.no_grad()
def make_group(
    teacher: DetectorOutput,
    targets: Sequence[Targets],
    classes: ClassMap,
    settings: PairingSettings,
    *,
    num_classes: int,
    generator: torch.Generator | None = None,
) -> tuple[QueryGroup, Pairs]:
    """The group to inject, and its pairs, which hold at every decoder layer.

    A true object is one query, which begins at the true box. Its answer is that of the teacher's query that
    sees it (IoU at least 0.5, its best class right); the most confident one, however unsure. An object that
    no teacher query sees is left out, since denoising teaches it already, or is answered by the ground truth
    (``settings.answer_missed``). What else the teacher sees confidently is one query each, which begins at
    the teacher's box and is answered by the teacher (unless ``settings.beside_truth`` is off).

    Args:
        targets: ground truth of the B images, on the teacher's device; none at all is allowed.
        num_classes: C of the student: the class id of padding, and where label noise ends.
        generator: on the CPU; seeded alike, the group comes out alike.
    """
    seen = seen_by(teacher, classes, settings)
    objects = true_objects(teacher, targets, classes)
    queries = _of_truth(teacher, objects, classes)
    if settings.beside_truth:
        queries = _joined([queries, _of_teacher(seen, objects, classes)])
    if not settings.answer_missed:
        queries = queries[queries.teacher != GROUND_TRUTH]
    order, place = best_of_each_image(queries.image, queries.score, seen.images, settings.max_queries)
    queries = queries[order]
    begin = _with_box_noise(queries.begin, settings.box_noise_scale, generator)
    labels = _with_label_noise(queries.class_ids, settings.label_noise_ratio, num_classes, generator)
    valid = padded(torch.ones_like(labels, dtype=torch.bool), queries.image, place, seen.images)
    class_ids = padded(labels, queries.image, place, seen.images).masked_fill(~valid, num_classes)
    boxes = padded(begin, queries.image, place, seen.images)
    pairs = Pairs(queries.image, place, queries.teacher, queries.score, queries.logits, queries.boxes)
    return QueryGroup(boxes, class_ids, valid), pairs


def _of_truth(teacher: DetectorOutput, objects: TrueObjects, classes: ClassMap) -> _Queries:
    """One query for each true object, answered by the teacher's query that sees it, or by itself."""
    seen = objects.query != GROUND_TRUTH
    query = objects.query.clamp(min=0)
    logits = classes.teacher_logits(teacher.logits[objects.image, query]).float()
    boxes = teacher.boxes_cxcywh[objects.image, query].float()
    return _Queries(
        objects.image,
        objects.boxes_cxcywh,
        objects.class_ids,
        objects.query,
        objects.score,
        torch.where(seen[:, None], logits, hard_logits(objects.shared, len(classes.student))),
        torch.where(seen[:, None], boxes, objects.boxes_cxcywh),
    )


def _of_teacher(seen: Seen, objects: TrueObjects, classes: ClassMap) -> _Queries:
    """One query for what the teacher sees beside the true objects, or under another name."""
    student_ids = torch.tensor(classes.student, device=seen.image.device)
    class_ids = student_ids[seen.logits.argmax(-1)]
    everything = _Queries(
        seen.image, seen.boxes_cxcywh, class_ids, seen.query, seen.score, seen.logits, seen.boxes_cxcywh
    )
    return everything[~objects.sees[seen.image, seen.query]]


def _joined(parts: Sequence[_Queries]) -> _Queries:
    return _Queries(*(torch.cat(column) for column in zip(*(vars(p).values() for p in parts), strict=True)))


def _with_box_noise(boxes_cxcywh: Tensor, scale: float, generator: torch.Generator | None) -> Tensor:
    """Corners moved by less than ``scale`` half sides, inside the image; as a positive denoising query."""
    shift = 2 * torch.rand(boxes_cxcywh.shape, generator=generator) - 1
    half = boxes_cxcywh[:, 2:].repeat(1, 2) / 2
    corners = box_convert(boxes_cxcywh, "cxcywh", "xyxy") + shift.to(boxes_cxcywh) * half * scale
    noisy: Tensor = box_convert(corners.clamp(0, 1), "xyxy", "cxcywh")
    return noisy


def _with_label_noise(
    class_ids: Tensor, ratio: float, num_classes: int, generator: torch.Generator | None
) -> Tensor:
    """Half of ``ratio`` of the ids replaced by any class, as in denoising."""
    noisy = torch.rand(class_ids.shape, generator=generator) < ratio / 2
    other = torch.randint(0, num_classes, class_ids.shape, generator=generator)
    return torch.where(noisy.to(class_ids.device), other.to(class_ids.device), class_ids)
