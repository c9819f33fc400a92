"""Precision at COCO's recall levels, and recall, from matched detections: pycocotools' to the last bit.

Shapes: A area ranges, T IoU thresholds, R recall levels, C classes, N detections.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taco_kd.evaluate.columns import Floats, Ints
from taco_kd.evaluate.greedy import AREA_RANGES, IOU_THRESHOLDS, MAX_DETECTIONS, Matched

RECALLS: Floats = np.linspace(0.0, 1.0, 101)
DETECTION_LIMITS = (1, 10, MAX_DETECTIONS)


@dataclass(frozen=True)
class Accumulated:
    """COCO's two tables; -1 where a class has no box of that area.

    Attributes:
        precision: [T, R, C, A] at 100 detections; classes by ascending id.
        recall: [T, C, A] at 100 detections.
        recall_at: [L, T, C] over all areas with at most 1, 10, 100 detections per image and class.
    """

    precision: Floats
    recall: Floats
    recall_at: Floats

    def ap(self, threshold: float | None = None, area: str = "all") -> float | None:
        """Mean over classes (and thresholds), as in COCO's summary; None without any box."""
        table = self.precision[..., list(AREA_RANGES).index(area)]
        return _mean(table if threshold is None else table[np.isclose(IOU_THRESHOLDS, threshold)])

    def ar(self, limit: int = MAX_DETECTIONS, area: str = "all") -> float | None:
        """Mean recall over classes and thresholds; None if there is nothing to measure."""
        if area == "all":
            return _mean(self.recall_at[DETECTION_LIMITS.index(limit)])
        return _mean(self.recall[..., list(AREA_RANGES).index(area)])

    def class_ap(self, k: int, threshold: float | None = None) -> float | None:
        """AP of the k-th class over all areas; None without boxes."""
        table = self.precision[:, :, k, 0]
        return _mean(table if threshold is None else table[np.isclose(IOU_THRESHOLDS, threshold)])

    def class_recall(self, k: int, threshold: float) -> float | None:
        """Largest recall of the k-th class; None without boxes."""
        return _mean(self.recall[np.isclose(IOU_THRESHOLDS, threshold), k, 0])


def accumulate(matched: Matched) -> Accumulated:
    """As pycocotools' ``COCOeval.accumulate``."""
    areas, classes = matched.boxes.shape
    thresholds = len(IOU_THRESHOLDS)
    precision = np.full((thresholds, len(RECALLS), classes, areas), -1.0)
    recall = np.full((thresholds, classes, areas), -1.0)
    recall_at = np.full((len(DETECTION_LIMITS), thresholds, classes), -1.0)
    for k in range(classes):
        own = slice(int(matched.starts[k]), int(matched.starts[k + 1]))
        rank = matched.rank[own]
        for a in np.flatnonzero(matched.boxes[:, k]):
            boxes = int(matched.boxes[a, k])
            hit, ignored = matched.hit[a, :, own], matched.ignored[a, :, own]
            recall[:, k, a] = hit.sum(axis=1) / boxes
            seen = (~ignored).cumsum(axis=1)
            for t in range(thresholds):
                precision[t, :, k, a] = precision_at_recalls(seen[t, hit[t]], boxes)
            if a == 0:
                for number, limit in enumerate(DETECTION_LIMITS):
                    recall_at[number, :, k] = hit[:, rank < limit].sum(axis=1) / boxes
    return Accumulated(precision, recall, recall_at)


def precision_at_recalls(seen: Ints, boxes: int) -> Floats:
    """[R] largest precision at each recall level or above it, 0 where it is not reached.

    Precision peaks at hits, and recall rises only there, so nothing else is needed.

    Args:
        seen: [H] for each hit, best first, the detections that count up to and including it.
        boxes: boxes to be found.
    """
    hits = np.arange(1, len(seen) + 1, dtype=np.float64)
    precision = hits / (seen + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / boxes, RECALLS, side="left")
    return np.append(envelope, 0.0)[at]


def _mean(values: Floats) -> float | None:
    defined = values[values > -1]
    return float(np.mean(defined)) if len(defined) else None
