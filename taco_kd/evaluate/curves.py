"""Precision against recall, and precision, recall and F1 against the confidence threshold.

Curves against confidence are at IoU 0.5. Those of all classes together count every detection alike (pooled,
or "micro"), so that frequent classes weigh more; curves of precision against recall are means over the
classes with boxes, as AP is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taco_kd.evaluate.accumulate import Accumulated
from taco_kd.evaluate.columns import Floats
from taco_kd.evaluate.greedy import IOU_THRESHOLDS, Bools, Matched

Values = tuple[float, ...]
_DIGITS = 4


@dataclass(frozen=True)
class RecallCurves:
    """Precision at recall 0, 0.01 ... 1, [101] each, of IoU 0.5, 0.75 and the mean over 0.50:0.95."""

    iou50: Values
    iou75: Values
    mean: Values


@dataclass(frozen=True)
class Operating:
    """What a user gets who keeps detections of at least ``confidence``, at IoU 0.5."""

    confidence: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ConfidenceCurves:
    """At IoU 0.5; ``precision`` is None where no detection is that confident.

    Attributes:
        confidence: [101] thresholds.
        best: the threshold of the largest F1: the highest of several; None without a single hit.
    """

    confidence: Values
    precision: tuple[float | None, ...]
    recall: Values
    f1: Values
    best: Operating | None


def recall_curves(tables: Accumulated, k: int | None = None) -> RecallCurves | None:
    """Of the k-th class by ascending id, or the mean over classes; None without boxes."""
    table = tables.precision[..., 0]  # [T, R, C]
    known = table[0, 0] > -1
    if not (known.any() if k is None else known[k]):
        return None
    curves = table[:, :, known].mean(axis=2) if k is None else table[:, :, k]
    at = {iou: int(np.argmin(np.abs(IOU_THRESHOLDS - iou))) for iou in (0.5, 0.75)}
    return RecallCurves(_values(curves[at[0.5]]), _values(curves[at[0.75]]), _values(curves.mean(axis=0)))


def grid(matched: Matched) -> Floats:
    """[101] thresholds from 0 to 1, further where scores lie outside."""
    low, high = matched.score.min(initial=0.0), matched.score.max(initial=1.0)
    return np.linspace(low, high, 101)


def confidence_curves(matched: Matched, k: int | None = None) -> ConfidenceCurves | None:
    """Of the k-th class, or of all pooled; None without boxes."""
    own = slice(None) if k is None else slice(int(matched.starts[k]), int(matched.starts[k + 1]))
    boxes = int(matched.boxes[0].sum() if k is None else matched.boxes[0, k])
    if not boxes:
        return None
    counted = ~matched.ignored[0, 0, own]
    scores, hit = matched.score[own][counted], matched.hit[0, 0, own][counted]
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.append(0, hit[order].cumsum())
    thresholds = grid(matched)
    kept = np.searchsorted(-scores, -thresholds, side="right")  # detections of at least each threshold
    found = hits[kept]
    precision = found / np.maximum(kept, 1)
    return ConfidenceCurves(
        confidence=_values(thresholds),
        precision=tuple(
            None if n == 0 else v for n, v in zip(kept.tolist(), _values(precision), strict=True)
        ),
        recall=_values(found / boxes),
        f1=_values(2 * found / (kept + boxes)),
        best=_best(scores, hit[order], boxes),
    )


def _best(scores: Floats, hit: Bools, boxes: int) -> Operating | None:
    """Over all thresholds, not those of the grid alone; ``scores`` fall."""
    if not hit.any():
        return None
    hits, kept = hit.cumsum(), np.arange(1, len(hit) + 1)
    f1 = np.where(np.diff(scores, append=-np.inf) < 0, 2 * hits / (kept + boxes), -1.0)  # ties go together
    at = int(f1.argmax())
    return Operating(
        confidence=float(scores[at]),
        precision=float(hits[at] / kept[at]),
        recall=float(hits[at] / boxes),
        f1=float(f1[at]),
    )


def _values(array: Floats) -> Values:
    return tuple(np.round(array, _DIGITS).tolist())
