"""COCO's matching of detections to boxes, done once for each range of areas.

The rules are those of pycocotools' ``COCOeval.evaluateImg`` (https://cocodataset.org/#detection-eval), which is
the oracle in the tests; the overlap itself is computed by pycocotools. Here the ten thresholds go together and
detections that overlap no box by half are not looked at again, which is nearly all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pycocotools import mask

from taco_kd.evaluate.inputs import CocoInput, check_coco
from taco_kd.evaluate.weighted_ap import Bools, ClassMatches, Floats, Ints, Matches

__all__ = ["AREAS", "Area", "Bools", "ClassMatches", "Floats", "Ints", "Matches", "match", "match_areas"]

Area = Literal["all", "small", "medium", "large"]

AREAS: dict[Area, tuple[float, float]] = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
"""COCO's ranges, both ends included, in square pixels of the ground truth's images."""

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)

MAX_DETECTIONS = 100
"""Per image and class, as COCO has it."""


def match(
    ground_truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], *, where: str = "predictions"
) -> Matches:
    """Match one detector's predictions to the boxes of all sizes; arguments are left unchanged.

    Raises:
        DataError: see :func:`taco_kd.evaluate.inputs.check_coco`.
    """
    return match_areas(ground_truth, predictions, ("all",), where=where)["all"]


def match_areas(
    ground_truth: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    areas: Sequence[Area] = tuple(AREAS),
    *,
    where: str = "predictions",
) -> dict[Area, Matches]:
    """The same for several ranges of areas: boxes of another size, and what matches them, are ignored.

    Raises:
        DataError: see :func:`taco_kd.evaluate.inputs.check_coco`.
    """
    coco = check_coco(ground_truth, predictions, where=where)
    categories = sorted(coco.categories)
    found = _classes(_Table.of(coco, "predictions"), len(categories))
    truth = _classes(_Table.of(coco, "ground_truth"), len(categories))
    classes = [_match_class(d, g, len(coco.images), areas) for d, g in zip(found, truth, strict=True)]
    names = tuple(coco.categories[category] for category in categories)
    return {area: Matches(coco.images, names, tuple(one[area] for one in classes)) for area in areas}


@dataclass(frozen=True)
class _Table:
    """Boxes or detections (N) as columns, in the order of their images."""

    image: Ints
    category: Ints
    xywh: Floats
    area: Floats
    score: Floats
    crowd: Bools

    @classmethod
    def of(cls, coco: CocoInput, which: Literal["predictions", "ground_truth"]) -> _Table:
        rows = getattr(coco, which)["annotations"]
        image_place = {image: index for index, image in enumerate(coco.images)}
        class_place = {category: index for index, category in enumerate(sorted(coco.categories))}
        table = cls(
            np.array([image_place[row["image_id"]] for row in rows], dtype=np.int64),
            np.array([class_place[row["category_id"]] for row in rows], dtype=np.int64),
            np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4),
            np.array([row["area"] for row in rows], dtype=np.float64),
            np.array([row.get("score", 0.0) for row in rows], dtype=np.float64),
            np.array([row["iscrowd"] for row in rows], dtype=bool),
        )
        return table.take(np.argsort(table.image, kind="stable"))

    def take(self, rows: Ints) -> _Table:
        return _Table(
            self.image[rows],
            self.category[rows],
            self.xywh[rows],
            self.area[rows],
            self.score[rows],
            self.crowd[rows],
        )


def _classes(table: _Table, number: int) -> list[_Table]:
    return [table.take(np.flatnonzero(table.category == index)) for index in range(number)]


def _match_class(
    found: _Table, truth: _Table, images: int, areas: Sequence[Area]
) -> dict[Area, ClassMatches]:
    """Detections of one class against its boxes."""
    found = found.take(_best_of_each_image(found))
    inside = {area: _inside(found, area) for area in areas}
    counted = {area: _inside(truth, area) & ~truth.crowd for area in areas}
    hit = {area: np.zeros((len(IOU_THRESHOLDS), len(found.image)), dtype=bool) for area in areas}
    ignored = {area: np.repeat(~inside[area][None], len(IOU_THRESHOLDS), axis=0) for area in areas}
    for image in np.intersect1d(truth.image, found.image):
        first, end = np.searchsorted(found.image, [image, image + 1])
        start, stop = np.searchsorted(truth.image, [image, image + 1])
        boxes = slice(start, stop)
        overlap = mask.iou(found.xywh[first:end], truth.xywh[boxes], truth.crowd[boxes].astype(np.uint8))
        near = np.flatnonzero(overlap.max(axis=1) >= IOU_THRESHOLDS[0])
        if not len(near):
            continue
        for area in areas:
            good = counted[area][boxes]
            to = _greedy(overlap[near], good, truth.crowd[boxes])
            hit[area][:, first + near] = (to >= 0) & good[to]
            ignored[area][:, first + near] = np.where(to >= 0, ~good[to], ignored[area][:, first + near])
    return {
        area: ClassMatches.sort(
            found.score,
            found.image,
            hit[area],
            ignored[area],
            np.bincount(truth.image[counted[area]], minlength=images).astype(np.int64),
        )
        for area in areas
    }


def _best_of_each_image(found: _Table) -> Ints:
    """The best detections of each image, highest score first; stable, as in COCO."""
    order = np.lexsort((-found.score, found.image))
    image = found.image[order]
    rank = np.arange(len(image)) - np.searchsorted(image, image)
    return order[rank < MAX_DETECTIONS]


def _inside(table: _Table, area: Area) -> Bools:
    low, high = AREAS[area]
    return np.asarray((table.area >= low) & (table.area <= high))


def _greedy(overlap: Floats, counted: Bools, crowd: Bools) -> Ints:
    """The box [T, D] each detection takes, -1 for none; overlap [D, G], highest score first.

    A detection takes the free box that it overlaps most, one that counts before one that does not; of
    equals the last. A crowd is never used up.
    """
    levels = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)[:, None]
    free = np.ones((len(levels), len(counted)), dtype=bool)
    taken = np.full((len(levels), len(overlap)), -1)
    every = np.arange(len(levels))
    for place, row in enumerate(overlap):
        possible = free & (row >= levels)
        first_choice = possible & counted
        possible = np.where(first_choice.any(axis=1, keepdims=True), first_choice, possible)
        value = np.where(possible, row, -1.0)
        best = value.shape[1] - 1 - np.argmax(value[:, ::-1], axis=1)
        taken[:, place] = np.where(value[every, best] >= 0, best, -1)
        free[every, best] &= (value[every, best] < 0) | crowd[best]
    return taken
