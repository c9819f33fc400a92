"""Which of a teacher's queries sees which true object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from taco_kd.classes.class_map import ClassMap
from taco_kd.types import DetectorOutput, Targets

SAME_OBJECT_IOU = 0.5
"""a teacher's box that overlaps a true one by at least this much, with its class, sees that object"""


@dataclass(frozen=True)
class TrueObjects:
    """The N true objects of B images whose class has a partner, image by image.

    Attributes:
        image: [N] index in the batch.
        place: [N] index in the image's ``Targets``.
        shared: [N] place of the class among the shared ones.
        class_ids: [N] of the student.
        boxes_cxcywh: [N, 4] in 0..1.
        query: [N] the teacher's query that sees the object; -1 where none does.
        score: [N] how sure that query is of the class, 0..1; 1 where there is none.
        sees: [B, Q] which queries of the teacher see a true object.
    """

    image: Tensor
    place: Tensor
    shared: Tensor
    class_ids: Tensor
    boxes_cxcywh: Tensor
    query: Tensor
    score: Tensor
    sees: Tensor


@torch.no_grad()
def true_objects(teacher: DetectorOutput, targets: Sequence[Targets], classes: ClassMap) -> TrueObjects:
    """A query sees an object when their IoU is at least 0.5 and its best class is right.

    Of several the surest is taken, however unsure it is: that is what the teacher knows of the object.
    """
    device = teacher.logits.device
    place_of = {student: place for place, student in enumerate(classes.student)}
    scores = classes.teacher_logits(teacher.logits).float().sigmoid()  # [B, Q, S]
    best = scores.argmax(-1)
    boxes_xyxy = box_convert(teacher.boxes_cxcywh.float(), "cxcywh", "xyxy")
    sees = torch.zeros(best.shape, dtype=torch.bool, device=device)
    none = torch.zeros(0, dtype=torch.long, device=device)
    rows = [(none, none, none, none, torch.zeros(0, 4, device=device), none, torch.zeros(0, device=device))]
    for b, target in enumerate(targets):
        known = [(i, place_of[c]) for i, c in enumerate(target.class_ids.tolist()) if c in place_of]
        if not known:
            continue
        place, shared = torch.tensor(known, device=device).unbind(1)
        true = target.boxes_cxcywh[place].float()
        overlap = box_iou(box_convert(true, "cxcywh", "xyxy"), boxes_xyxy[b])
        seeing = (overlap >= SAME_OBJECT_IOU) & (best[b] == shared[:, None])
        score, query = torch.where(seeing, scores[b].T[shared], -1.0).max(1)
        seen, sees[b] = score >= 0, seeing.any(0)
        rows.append(
            (
                torch.full_like(place, b),
                place,
                shared,
                target.class_ids[place],
                true,
                torch.where(seen, query, -1),
                torch.where(seen, score, 1.0),
            )
        )
    image, place, shared, class_ids, boxes, query, score = map(torch.cat, zip(*rows, strict=True))
    return TrueObjects(image, place, shared, class_ids, boxes, query, score, sees)
