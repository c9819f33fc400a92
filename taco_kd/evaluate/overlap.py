"""Intersection over union of many boxes at once."""

from __future__ import annotations

import numpy as np

from taco_kd.evaluate.columns import Floats, Ints


def pairwise_iou(a_xywh: Floats, b_xywh: Floats, b_crowd: Floats | None = None) -> Floats:
    """IoU [..., N, M] of boxes [..., N, 4] and [..., M, 4] (left, top, width, height).

    Args:
        b_crowd: [..., M] true where ``b`` is a crowd: the union is then the area of ``a`` alone, as in COCO.
    """
    a, b = a_xywh[..., :, None, :], b_xywh[..., None, :, :]
    sides = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(min=0).prod(axis=-1)
    area_a, area_b = a[..., 2] * a[..., 3], b[..., 2] * b[..., 3]
    union = area_a + area_b - shared
    if b_crowd is not None:
        union = np.where(b_crowd[..., None, :], area_a, union)
    iou: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def best_iou(boxes_xywh: Floats, image: Ints, truth_xywh: Floats, truth_image: Ints) -> Floats:
    """[N] largest IoU of each box with a true box of its own image; 0 where the image has none."""
    order = np.argsort(truth_image, kind="stable")
    truth_xywh, truth_image = truth_xywh[order], truth_image[order]
    start = np.searchsorted(truth_image, image, side="left")
    count = np.searchsorted(truth_image, image, side="right") - start
    best = np.zeros(len(boxes_xywh))
    for step in range(int(count.max(initial=0))):
        at = np.flatnonzero(count > step)
        one = pairwise_iou(boxes_xywh[at, None, :], truth_xywh[start[at] + step][:, None, :])
        best[at] = np.maximum(best[at], one[:, 0, 0])
    return best
