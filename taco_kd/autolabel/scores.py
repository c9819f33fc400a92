"""How good the labels of a remedy are: against the truth where known, else what can be said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torchvision.ops import box_iou

from taco_kd.autolabel.audit import clustered_interval
from taco_kd.autolabel.compatibility import Verdict
from taco_kd.autolabel.harm import JudgedBox
from taco_kd.autolabel.naive import LabelledPhoto
from taco_kd.autolabel.remedies import Boxes, Remedy
from taco_kd.autolabel.truth import MIN_IOU, Fact, TrueBox, Truth, check
from taco_kd.evaluate.classes import same_name
from taco_kd.evaluate.coco_metrics import evaluate_coco

Interval = tuple[float, float]


@dataclass(frozen=True)
class RemedyScore:
    """One row of the comparison; figures that cannot be had are None.

    Attributes:
        labels: boxes that are left; ``photos`` with at least one of them.
        contradicted, judged: by the compatibility table; None for boxes that no detector named.
        right, checked: labels that are right, of those whose truth is known; ``right_interval`` of the share.
        found, objects: objects with a right label, of all objects in photos whose truth is known.
        ap, ap50: of the labels with their confidences against those objects, 0..1.
        absent: why the remedy is not available.
    """

    key: str
    text: str
    absent: str | None = None
    labels: int = 0
    photos: int = 0
    contradicted: int | None = None
    judged: int | None = None
    right: int | None = None
    checked: int | None = None
    right_interval: Interval | None = None
    found: int | None = None
    objects: int | None = None
    ap: float | None = None
    ap50: float | None = None

    def record(self) -> dict[str, Any]:
        """As JSON; ``precision`` and ``recall`` are of labels, at an IoU of 0.5."""
        values: dict[str, Any] = {"remedy": self.key, "what": self.text}
        if self.absent:
            return {**values, "not_available": self.absent}
        return values | {
            "not_available": None,
            "labels": self.labels,
            "photos": self.photos,
            "contradicted": self.contradicted,
            "judged": self.judged,
            "right": self.right,
            "checked": self.checked,
            "precision": self.right / self.checked if self.right is not None and self.checked else None,
            "precision_interval_95": self.right_interval,
            "recall": self.found / self.objects if self.found is not None and self.objects else None,
            "objects": self.objects,
            "ap": self.ap,
            "ap50": self.ap50,
        }


def score_remedies(
    remedies: Sequence[Remedy],
    photos: Sequence[LabelledPhoto],
    judged: Sequence[JudgedBox],
    *,
    truth: Truth | None,
) -> list[RemedyScore]:
    """A row for each remedy, in order."""
    by_id = {box.id: box for box in judged}
    return [_score(remedy, photos, by_id, truth or {}) for remedy in remedies]


def _score(
    remedy: Remedy, photos: Sequence[LabelledPhoto], by_id: Mapping[int, JudgedBox], truth: Truth
) -> RemedyScore:
    if remedy.boxes is None:
        return RemedyScore(remedy.key, remedy.text, remedy.absent)
    verdicts = [by_id[i].verdict for i in remedy.kept]
    contradicted = sum(v is Verdict.MISMATCH for v in verdicts)
    own = not remedy.kept and any(remedy.boxes)
    known = [
        (photo, boxes, truth[photo.photo.file_name])
        for photo, boxes in zip(photos, remedy.boxes, strict=True)
        if photo.photo.file_name in truth
    ]
    facts = [check(boxes, objects) for _, boxes, objects in known]
    clusters = [(sum(f is Fact.RIGHT for f in of_photo), len(of_photo)) for of_photo in facts]
    ap, ap50 = _average_precision(known) if known else (None, None)
    return RemedyScore(
        key=remedy.key,
        text=remedy.text,
        labels=sum(map(len, remedy.boxes)),
        photos=sum(map(bool, remedy.boxes)),
        contradicted=None if own else contradicted,
        judged=None if own else contradicted + sum(v is Verdict.COMPATIBLE for v in verdicts),
        right=sum(right for right, _ in clusters) if known else None,
        checked=sum(total for _, total in clusters) if known else None,
        right_interval=clustered_interval(clusters),
        found=sum(_found(boxes, objects) for _, boxes, objects in known) if known else None,
        objects=sum(len(objects) for _, _, objects in known) if known else None,
        ap=ap,
        ap50=ap50,
    )


def _found(boxes: Boxes, objects: Sequence[TrueBox]) -> int:
    """Objects that some label of their class overlaps by ``MIN_IOU`` or more."""
    if not boxes or not objects:
        return 0
    overlap = box_iou(torch.tensor([o.box_xyxy for o in objects]), torch.tensor([b.box_xyxy for b in boxes]))
    same = torch.tensor([[same_name(o.class_name) == same_name(b.label) for b in boxes] for o in objects])
    return int(((overlap >= MIN_IOU) & same).any(dim=1).sum())


def _average_precision(
    known: Sequence[tuple[LabelledPhoto, Boxes, Sequence[TrueBox]]],
) -> tuple[float | None, float | None]:
    """AP and AP50 of the labels, as if they were a detector's, against every object of the photos."""
    names = sorted(
        {same_name(o.class_name) for _, _, objects in known for o in objects}
        | {same_name(b.label) for _, boxes, _ in known for b in boxes}
    )
    category = {name: i for i, name in enumerate(names, start=1)}
    if not any(objects for _, _, objects in known):
        return None, None
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, (photo, boxes, objects) in enumerate(known, start=1):
        images.append({"id": number, "width": photo.width, "height": photo.height})
        for o in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category[same_name(o.class_name)],
                    "bbox": _xywh(o.box_xyxy),
                    "iscrowd": 0,
                }
            )
        for b in boxes:
            results.append(
                {
                    "image_id": number,
                    "category_id": category[same_name(b.label)],
                    "bbox": _xywh(b.box_xyxy),
                    "score": b.score,
                }
            )
    truth = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": n} for n, i in category.items()],
    }
    metrics = evaluate_coco(truth, results, where="labels")
    return metrics.ap, metrics.ap50


def _xywh(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]
