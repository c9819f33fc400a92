"""Matched detections in the form that is reweighted: one detector, once for each range of areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from taco_kd.evaluate.columns import Ints, index_of
from taco_kd.evaluate.greedy import AREA_RANGES, Matched, match_greedily
from taco_kd.evaluate.inputs import CocoInput, check_coco
from taco_kd.evaluate.weighted_ap import ClassMatches, Matches

Area = Literal["all", "small", "medium", "large"]
AREAS: tuple[Area, ...] = ("all", "small", "medium", "large")


def match(
    ground_truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], *, where: str = "predictions"
) -> Matches:
    """Match one detector's predictions to the boxes of all sizes; arguments are left unchanged.

    Raises:
        DataError: see :func:`taco_kd.evaluate.inputs.check_coco`.
    """
    coco = check_coco(ground_truth, predictions, where=where)
    return matches_of(coco, match_greedily(coco))["all"]


def matches_of(coco: CocoInput, matched: Matched) -> dict[Area, Matches]:
    """The matches of ``coco`` for each range of areas.

    Boxes of another size, and what matches them, are ignored there, and so are unmatched detections of
    another size.
    """
    names = tuple(coco.categories[category] for category in sorted(coco.categories))
    return {area: Matches(coco.images, names, _classes(coco, matched, area)) for area in AREAS}


def _classes(coco: CocoInput, matched: Matched, area: Area) -> tuple[ClassMatches, ...]:
    place = list(AREA_RANGES).index(area)
    boxes = _boxes(coco, area)
    found = []
    for k, counted in enumerate(boxes):
        own = slice(int(matched.starts[k]), int(matched.starts[k + 1]))
        hit, ignored = (table[place, :, own] for table in (matched.hit, matched.ignored))
        found.append(ClassMatches(matched.score[own], matched.image[own], hit, ignored, counted))
    return tuple(found)


def _boxes(coco: CocoInput, area: Area) -> Ints:
    """[C, I] boxes of an area that count."""
    truth, (low, high) = coco.truth, AREA_RANGES[area]
    areas, _ = coco.box_areas()
    counted = (truth.crowd == 0) & (areas >= low) & (areas <= high)
    class_ids = np.sort(np.array(truth.category_ids, dtype=np.int64))
    image = index_of(truth.box_image_ids[counted], truth.image_ids)
    label = index_of(truth.box_category_ids[counted], class_ids)
    table = np.zeros((len(class_ids), len(truth.image_ids)), dtype=np.int64)
    np.add.at(table, (label, image), 1)
    return table
