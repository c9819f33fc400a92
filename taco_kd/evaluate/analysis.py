"""Everything the evaluator can say about one detector on one dataset, from one matching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from taco_kd.errors import UsageError
from taco_kd.evaluate.accumulate import Accumulated, accumulate
from taco_kd.evaluate.calibration import Calibration, calibration
from taco_kd.evaluate.coco_metrics import Metrics, summarise
from taco_kd.evaluate.confusion import Confusion, confusion
from taco_kd.evaluate.curves import ConfidenceCurves, RecallCurves, confidence_curves, recall_curves
from taco_kd.evaluate.error_types import EXPLANATIONS, KINDS, ErrorTypes, costs, error_types
from taco_kd.evaluate.greedy import Matched, match_greedily
from taco_kd.evaluate.inputs import CocoInput, check_coco, parse
from taco_kd.evaluate.truth import Areas
from taco_kd.evaluate.worst import WorstClass, WorstImage, found_at, worst_classes, worst_images

WORST = 12
"""Images and classes that are listed as the worst."""


@dataclass(frozen=True)
class ErrorKind:
    """One kind of error, in TIDE's terms.

    Attributes:
        count: over all confidences; ``shown`` at the analysis' confidence.
        ap50_cost: what AP50 would gain if this kind alone were fixed (0..1); None without boxes.
    """

    kind: str
    explanation: str
    count: int
    shown: int
    ap50_cost: float | None


@dataclass(frozen=True)
class ClassAnalysis:
    """One class: curves and the threshold of its best F1; None where it has no boxes."""

    name: str
    boxes: int
    detections: int
    recall_curves: RecallCurves | None
    confidence_curves: ConfidenceCurves | None


@dataclass(frozen=True)
class Analysis:
    """What :func:`analyse` finds.

    Attributes:
        confidence: threshold of the confusion matrix, of the counts "shown" and of the worst images.
        confidence_is: where it comes from: "best F1", "chosen" or "default".
        recall_curves: mean over classes.
        confidence_curves: all classes pooled.
        classes: in the order of the ground truth.
        errors: TIDE's six kinds; ``error_summary`` all false positives and all false negatives.
    """

    metrics: Metrics
    confidence: float
    confidence_is: str
    recall_curves: RecallCurves | None
    confidence_curves: ConfidenceCurves | None
    classes: tuple[ClassAnalysis, ...]
    confusion: Confusion
    calibration: Calibration | None
    errors: tuple[ErrorKind, ...]
    error_summary: tuple[ErrorKind, ...]
    worst_images: tuple[WorstImage, ...]
    worst_classes: tuple[WorstClass, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        value: dict[str, Any] = TypeAdapter(Analysis).dump_python(self, mode="json")
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, where: str = "analysis") -> Analysis:
        """What :meth:`to_json` wrote.

        Raises:
            DataError: a key is missing or has another type; names ``where``.
        """
        return parse(TypeAdapter(cls), value, where)


def analyse(
    ground_truth: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    *,
    where: str = "predictions",
    areas: Areas = "resized",
    confidence: float | None = None,
    worst: int = WORST,
) -> Analysis:
    """COCO metrics, curves, confusion, calibration, TIDE's errors and the worst images of one detector.

    Args:
        ground_truth, predictions, where, areas: as for ``evaluate_coco``.
        confidence: threshold of what is counted at one threshold; by default that of the best F1.
        worst: images and classes to list.

    Raises:
        UsageError: a confidence that is not finite.
        DataError: see :func:`taco_kd.evaluate.inputs.check_coco`.
    """
    if confidence is not None and not np.isfinite(confidence):
        raise UsageError(f"confidence = {confidence}: must be a number")
    coco = check_coco(ground_truth, predictions, where=where, areas=areas)
    matched = match_greedily(coco)
    tables = accumulate(matched)
    pooled = confidence_curves(matched)
    threshold, origin = _threshold(confidence, pooled)
    errors = error_types(coco, matched)
    kinds, summary = _errors(matched, errors, threshold)
    return Analysis(
        metrics=summarise(coco, matched, tables),
        confidence=threshold,
        confidence_is=origin,
        recall_curves=recall_curves(tables),
        confidence_curves=pooled,
        classes=_classes(coco, matched, tables),
        confusion=confusion(coco, matched, confidence=threshold),
        calibration=calibration(matched),
        errors=kinds,
        error_summary=summary,
        worst_images=worst_images(coco, matched, errors, ground_truth, confidence=threshold, count=worst),
        worst_classes=worst_classes(coco, matched, errors, tables, confidence=threshold, count=worst),
    )


def _threshold(chosen: float | None, pooled: ConfidenceCurves | None) -> tuple[float, str]:
    if chosen is not None:
        return chosen, "chosen"
    if pooled is not None and pooled.best is not None:
        return pooled.best.confidence, "best F1"
    return 0.5, "default"


def _classes(coco: CocoInput, matched: Matched, tables: Accumulated) -> tuple[ClassAnalysis, ...]:
    place = {category: k for k, category in enumerate(sorted(coco.categories))}
    return tuple(
        ClassAnalysis(
            name=name,
            boxes=int(matched.boxes[0, place[category]]),
            detections=int(np.diff(matched.starts)[place[category]]),
            recall_curves=recall_curves(tables, place[category]),
            confidence_curves=confidence_curves(matched, place[category]),
        )
        for category, name in coco.categories.items()
    )


def _errors(
    matched: Matched, errors: ErrorTypes, confidence: float
) -> tuple[tuple[ErrorKind, ...], tuple[ErrorKind, ...]]:
    shown = errors.code[matched.score >= confidence]
    missing = matched.counts & ~found_at(matched, confidence)
    counts = {kind: int((shown == number).sum()) for number, kind in enumerate(KINDS[:-1], start=1)}
    explained = np.unique(errors.target[(matched.score >= confidence) & (errors.target >= 0)])
    unexplained = missing.copy()
    unexplained[explained] = False
    counts |= {
        "missed": int(unexplained.sum()),
        "false positives": int((shown > 0).sum()),
        "false negatives": int(missing.sum()),
    }
    words = EXPLANATIONS | {
        "false positives": "all wrong detections",
        "false negatives": "all objects that are not found",
    }
    each, summary = costs(matched, errors)
    kinds, all_ = (
        tuple(ErrorKind(c.kind, words[c.kind], c.count, counts[c.kind], c.ap50_cost) for c in group)
        for group in (each, summary)
    )
    return kinds, all_
