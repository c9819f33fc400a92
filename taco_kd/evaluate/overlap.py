"""Intersection over union of many boxes at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from taco_kd.evaluate.columns import Floats, Ints

BoolArray = npt.NDArray[np.bool_]

PAIRS_AT_ONCE = 1_000_000
"""Largest temporary array, in rows."""


def iou_of(a_xywh: Floats, b_xywh: Floats, crowd: BoolArray | None = None) -> Floats:
    """IoU [...] of boxes [..., 4] (left, top, width, height), one with one; shapes broadcast.

    Args:
        crowd: [...] true where ``b`` is a crowd: the union is then the area of ``a`` alone, as in COCO.
    """
    a, b = np.moveaxis(a_xywh, -1, 0), np.moveaxis(b_xywh, -1, 0)
    width = np.minimum(a[0] + a[2], b[0] + b[2]) - np.maximum(a[0], b[0])
    height = np.minimum(a[1] + a[3], b[1] + b[3]) - np.maximum(a[1], b[1])
    shared = width.clip(min=0) * height.clip(min=0)
    area_a, area_b = a[2] * a[3], b[2] * b[3]
    union = area_a + area_b - shared
    if crowd is not None:
        union = np.where(crowd, area_a, union)
    iou: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def best_iou(boxes_xywh: Floats, image: Ints, truth_xywh: Floats, truth_image: Ints) -> Floats:
    """[N] largest IoU of each box with a true box of its own image; 0 where the image has none."""
    crowd = np.zeros(len(truth_xywh), dtype=bool)
    pairs = overlapping(boxes_xywh, image, truth_xywh, truth_image, crowd=crowd, least=0.0)
    best = np.zeros(len(boxes_xywh))
    np.maximum.at(best, pairs.a, pairs.iou)
    return best


@dataclass(frozen=True)
class Pairs:
    """Boxes of one group that overlap: ``a`` [P] and ``b`` [P] indices, ascending, and their ``iou`` [P]."""

    a: Ints
    b: Ints
    iou: Floats


def overlapping(
    a_xywh: Floats, a_group: Ints, b_xywh: Floats, b_group: Ints, *, crowd: BoolArray, least: float
) -> Pairs:
    """All pairs of one group (an image, or an image and class) with an IoU of at least ``least``.

    Args:
        a_xywh: [N, 4] detections; ``a_group`` [N].
        b_xywh: [M, 4] true boxes; ``b_group`` [M].
        crowd: [M] boxes whose IoU is the share of the detection inside them, as in COCO.
    """
    order = np.argsort(b_group, kind="stable")
    start = np.searchsorted(b_group[order], a_group, side="left")
    count = np.searchsorted(b_group[order], a_group, side="right") - start
    a = np.repeat(np.arange(len(a_group)), count)
    within = np.arange(len(a)) - np.repeat(np.cumsum(count) - count, count)
    b = order[np.repeat(start, count) + within]
    found: list[Pairs] = []
    for begin in range(0, len(a), PAIRS_AT_ONCE):
        part = slice(begin, begin + PAIRS_AT_ONCE)
        iou = iou_of(a_xywh[a[part]], b_xywh[b[part]], crowd[b[part]])
        keep = iou >= least
        found.append(Pairs(a[part][keep], b[part][keep], iou[keep]))
    if not found:
        return Pairs(a, b, np.zeros(0))
    return Pairs(*(np.concatenate([getattr(p, key) for p in found]) for key in ("a", "b", "iou")))
