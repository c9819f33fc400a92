"""Whether a confidence of 0.7 means right 7 times in 10: reliability diagram and expected calibration error.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599; for detections, where the
share of right boxes (precision) takes the place of accuracy: Küppers et al., "Multivariate Confidence
Calibration for Object Detection", CVPR workshops 2020, arXiv:2004.13546, here by confidence alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taco_kd.evaluate.greedy import Matched

BINS = 15
LEAST_CONFIDENCE = 0.05
"""Detections below are left out: a DETR always returns its 100 best queries, and counting the hopeless ones
would make every detector look calibrated."""


@dataclass(frozen=True)
class Bin:
    """Detections with a confidence above ``low`` and up to ``high``; None where there are none."""

    low: float
    high: float
    count: int
    confidence: float | None
    precision: float | None


@dataclass(frozen=True)
class Calibration:
    """Calibration at IoU 0.5 of the detections of at least ``least_confidence``.

    Attributes:
        ece: mean over detections of |precision - confidence| of their bin; None without detections.
        mce: the largest |precision - confidence| of a bin.
        bias: mean confidence minus precision: positive is too sure of itself.
        detections: how many.
        bins: of equal width.
    """

    ece: float | None
    mce: float | None
    bias: float | None
    detections: int
    least_confidence: float
    iou: float
    bins: tuple[Bin, ...]


def calibration(
    matched: Matched, *, bins: int = BINS, least_confidence: float = LEAST_CONFIDENCE
) -> Calibration | None:
    """Calibration over all classes; None where scores are no confidences in 0..1.

    Detections that are matched to crowds are left out.
    """
    if len(matched.score) and not (matched.score.min() >= 0 and matched.score.max() <= 1):
        return None
    used = ~matched.ignored[0, 0] & (matched.score >= least_confidence)
    score, hit = matched.score[used], matched.hit[0, 0, used]
    place = (np.ceil(score * bins) - 1).clip(0, bins - 1).astype(np.int64)
    count = np.bincount(place, minlength=bins)
    confidence = np.bincount(place, weights=score, minlength=bins) / np.maximum(count, 1)
    precision = np.bincount(place, weights=hit, minlength=bins) / np.maximum(count, 1)
    gap = np.abs(precision - confidence)
    some = len(score) > 0
    return Calibration(
        ece=float((gap * count).sum() / len(score)) if some else None,
        mce=float(gap[count > 0].max()) if some else None,
        bias=float(score.mean() - hit.mean()) if some else None,
        detections=len(score),
        least_confidence=least_confidence,
        iou=0.5,
        bins=tuple(
            Bin(
                low=round(b / bins, 6),
                high=round((b + 1) / bins, 6),
                count=int(count[b]),
                confidence=float(confidence[b]) if count[b] else None,
                precision=float(precision[b]) if count[b] else None,
            )
            for b in range(bins)
        ),
    )
