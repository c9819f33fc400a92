"""COCO's average precision and recall for plain dictionaries.

The definition is that of the COCO detection challenge (https://cocodataset.org/#detection-eval): ten IoU
thresholds from 0.50 to 0.95, 101 recall levels, at most 100 detections per image and class, crowd boxes
ignored. pycocotools is the oracle in the tests: every number equals its own to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from taco_kd.evaluate.accumulate import Accumulated, accumulate
from taco_kd.evaluate.greedy import Matched, match_greedily
from taco_kd.evaluate.inputs import CocoInput, check_coco, parse
from taco_kd.evaluate.truth import Areas

EVALUATOR = "COCO bbox, 100 detections, taco-kd 2"
"""Names what the numbers are; another definition or another set of numbers gets another name."""

FREQUENT_BOXES = 10
"""Classes with fewer boxes are left out of ``ap_frequent``: their AP is mostly chance."""


@dataclass(frozen=True)
class ClassMetrics:
    """One class with the number of (non-crowd) boxes behind it; None where it has no boxes.

    Attributes:
        ap: over IoU 0.50:0.95; ``ap50`` at IoU 0.50.
        recall: share of its boxes that are found at IoU 0.50, at any confidence.
    """

    name: str
    boxes: int
    ap: float | None
    ap50: float | None = None
    recall: float | None = None


@dataclass(frozen=True)
class Metrics:
    """COCO's detection metrics, each in 0..1, or None where there is nothing to measure.

    Attributes:
        ap: mean over IoU 0.50:0.95, recall and classes; ``ap50`` and ``ap75`` at one IoU.
        ap_small: boxes of at most 32^2, ``ap_medium`` 96^2 pixels of ``area_space``, ``ap_large`` above.
        ar1: recall with at most 1 detection per image and class; ``ar10``, ``ar100`` with more; ``ar_small``,
            ``ar_medium``, ``ar_large`` with 100 on boxes of that size.
        per_class: in the order of the ground truth's categories.
        ap_frequent: mean AP over the classes with at least ``FREQUENT_BOXES`` boxes.
        images: images evaluated, those without boxes included.
        boxes: boxes that are not crowds.
        area_space: the pixels in which box areas were measured.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    per_class: tuple[ClassMetrics, ...]
    ap_frequent: float | None
    images: int
    boxes: int
    area_space: str
    ar_small: float | None = None
    ar_medium: float | None = None
    ar_large: float | None = None
    evaluator: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        value: dict[str, Any] = TypeAdapter(Metrics).dump_python(self, mode="json")
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, where: str = "metrics") -> Metrics:
        """What :meth:`to_json` wrote.

        Raises:
            DataError: a key is missing or has another type; names ``where``.
        """
        return parse(TypeAdapter(cls), value, where)


def evaluate_coco(
    ground_truth: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    *,
    where: str = "predictions",
    areas: Areas = "resized",
) -> Metrics:
    """COCO metrics of one detector.

    Args:
        ground_truth: COCO dictionary with ``images``, ``categories`` and ``annotations``; left unchanged.
        predictions: COCO results: ``image_id``, ``category_id``, ``bbox`` [x, y, width, height] in pixels of
            the ground truth's images, ``score``; left unchanged.
        where: what to call the predictions in an error.
        areas: small, medium and large by pixels of the images (``resized``) or of the ``original`` photos.

    Raises:
        DataError: see :func:`taco_kd.evaluate.inputs.check_coco`.
    """
    coco = check_coco(ground_truth, predictions, where=where, areas=areas)
    matched = match_greedily(coco)
    return summarise(coco, matched, accumulate(matched))


def summarise(coco: CocoInput, matched: Matched, tables: Accumulated) -> Metrics:
    """The metrics of detections that were matched and accumulated."""
    per_class = _per_class(coco, matched, tables)
    frequent = [each.ap for each in per_class if each.boxes >= FREQUENT_BOXES and each.ap is not None]
    return Metrics(
        ap=tables.ap(),
        ap50=tables.ap(0.5),
        ap75=tables.ap(0.75),
        ap_small=tables.ap(area="small"),
        ap_medium=tables.ap(area="medium"),
        ap_large=tables.ap(area="large"),
        ar1=tables.ar(1),
        ar10=tables.ar(10),
        ar100=tables.ar(100),
        per_class=per_class,
        ap_frequent=float(np.mean(frequent)) if frequent else None,
        images=len(coco.images),
        boxes=sum(each.boxes for each in per_class),
        area_space=coco.area_space,
        ar_small=tables.ar(area="small"),
        ar_medium=tables.ar(area="medium"),
        ar_large=tables.ar(area="large"),
        evaluator=EVALUATOR,
    )


def _per_class(coco: CocoInput, matched: Matched, tables: Accumulated) -> tuple[ClassMetrics, ...]:
    """In the order of the ground truth's categories; the tables go by ascending id."""
    place = {category: k for k, category in enumerate(sorted(coco.categories))}
    return tuple(
        ClassMetrics(
            name,
            boxes=int(matched.boxes[0, place[category]]),
            ap=tables.class_ap(place[category]),
            ap50=tables.class_ap(place[category], 0.5),
            recall=tables.class_recall(place[category], 0.5),
        )
        for category, name in coco.categories.items()
    )
