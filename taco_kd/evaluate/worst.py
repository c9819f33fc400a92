"""The images and classes that go wrong most, at one confidence threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from taco_kd.evaluate.accumulate import Accumulated
from taco_kd.evaluate.columns import Ints
from taco_kd.evaluate.error_types import KINDS, ErrorTypes
from taco_kd.evaluate.greedy import Bools, Matched
from taco_kd.evaluate.inputs import CocoInput

BoxXYWH = tuple[float, float, float, float]


@dataclass(frozen=True)
class SeenBox:
    """A detection; ``kind`` of its error: empty where it is right, "ignored" where it does not count."""

    bbox_xywh: BoxXYWH
    label: str
    score: float
    kind: str


@dataclass(frozen=True)
class RealBox:
    """A true box; ``found`` at the threshold, or a ``crowd``, which need not be found."""

    bbox_xywh: BoxXYWH
    label: str
    found: bool
    crowd: bool


@dataclass(frozen=True)
class WorstImage:
    """One image with its errors by kind ("missed" are all boxes that are not found) and all its boxes."""

    image_id: int
    file_name: str | None
    width: float | None
    height: float | None
    errors: dict[str, int]
    detections: tuple[SeenBox, ...]
    truth: tuple[RealBox, ...]

    @property
    def total(self) -> int:
        return sum(self.errors.values())


@dataclass(frozen=True)
class WorstClass:
    """One class: ``cost`` is what the mean AP50 would gain if it were perfect (0..1)."""

    name: str
    boxes: int
    ap50: float
    cost: float
    errors: dict[str, int]


def found_at(matched: Matched, confidence: float) -> Bools:
    """[M] true boxes that are found by a detection of at least that confidence, at IoU 0.5."""
    found = np.zeros(len(matched.box_image), dtype=bool)
    found[matched.box[0][matched.hit[0, 0] & (matched.score >= confidence)]] = True
    return found


def worst_images(
    coco: CocoInput,
    matched: Matched,
    errors: ErrorTypes,
    ground_truth: Mapping[str, Any],
    *,
    confidence: float,
    count: int,
) -> tuple[WorstImage, ...]:
    """Up to ``count`` images with errors, most errors first; among equals those that were surest of them."""
    images = len(coco.images)
    shown = matched.score >= confidence
    wrong = np.flatnonzero(shown & (errors.code > 0))
    missed = np.flatnonzero(matched.counts & ~found_at(matched, confidence))
    total = np.bincount(matched.image[wrong], minlength=images)
    total += np.bincount(matched.box_image[missed], minlength=images)
    surety = np.bincount(matched.image[wrong], weights=matched.score[wrong], minlength=images)
    order = np.lexsort((np.arange(images), -surety, -total))[:count]
    records = {image["id"]: image for image in ground_truth["images"]}
    return tuple(
        _image(coco, matched, errors, records[coco.images[i]], int(i), confidence)
        for i in order
        if total[i] > 0
    )


def worst_classes(
    coco: CocoInput,
    matched: Matched,
    errors: ErrorTypes,
    tables: Accumulated,
    *,
    confidence: float,
    count: int,
) -> tuple[WorstClass, ...]:
    """Up to ``count`` classes with boxes, in the order of what each costs the mean AP50."""
    names = [coco.categories[category] for category in sorted(coco.categories)]
    missed = matched.counts & ~found_at(matched, confidence)
    shown, label = matched.score >= confidence, matched.class_index
    present = np.flatnonzero(matched.boxes[0])
    found = []
    for k in present.tolist():
        ap50 = tables.class_ap(k, 0.5) or 0.0
        by_kind = _by_kind(errors.code[shown & (label == k)], int((missed & (matched.box_class == k)).sum()))
        found.append(WorstClass(names[k], int(matched.boxes[0, k]), ap50, (1 - ap50) / len(present), by_kind))
    return tuple(sorted(found, key=lambda c: (-c.cost, -c.boxes, c.name))[:count])


def _by_kind(codes: Ints, missed: int) -> dict[str, int]:
    counts = np.bincount(codes, minlength=len(KINDS))[1:].tolist()
    return dict(zip(KINDS, [*counts, missed], strict=True))


def _image(
    coco: CocoInput,
    matched: Matched,
    errors: ErrorTypes,
    record: Mapping[str, Any],
    i: int,
    confidence: float,
) -> WorstImage:
    names = [coco.categories[category] for category in sorted(coco.categories)]
    label = matched.class_index
    seen = np.flatnonzero((matched.image == i) & (matched.score >= confidence))
    seen = seen[np.argsort(-matched.score[seen], kind="stable")]
    own = np.flatnonzero(matched.box_image == i)
    found = found_at(matched, confidence)
    kinds = ["", *KINDS]
    return WorstImage(
        image_id=coco.images[i],
        file_name=record.get("file_name"),
        width=record.get("width"),
        height=record.get("height"),
        errors=_by_kind(errors.code[seen], int((matched.counts[own] & ~found[own]).sum())),
        detections=tuple(
            SeenBox(
                _box(coco.found.boxes_xywh[matched.row[d]]),
                names[label[d]],
                round(float(matched.score[d]), 4),
                "ignored" if matched.ignored[0, 0, d] else kinds[errors.code[d]],
            )
            for d in seen.tolist()
        ),
        truth=tuple(
            RealBox(
                _box(coco.truth.boxes_xywh[b]),
                names[matched.box_class[b]],
                bool(found[b]),
                not bool(matched.counts[b]),
            )
            for b in own.tolist()
        ),
    )


def _box(xywh: Any) -> BoxXYWH:
    x, y, w, h = (round(float(value), 1) for value in xywh)
    return x, y, w, h
