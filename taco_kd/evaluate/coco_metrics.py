"""COCO's average precision and recall for plain dictionaries, by faster-coco-eval.

The definition is that of the COCO detection challenge (https://cocodataset.org/#detection-eval): ten IoU
thresholds from 0.50 to 0.95, 101 recall levels, at most 100 detections per image and class, crowd boxes
ignored. pycocotools is the oracle in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from pydantic import TypeAdapter

from taco_kd.evaluate.inputs import CocoInput, check_coco, parse

FREQUENT_BOXES = 10
"""Classes with fewer boxes are left out of ``ap_frequent``: their AP is mostly chance."""


@dataclass(frozen=True)
class ClassMetrics:
    """AP of one class with the number of (non-crowd) boxes behind it; None for a class without boxes."""

    name: str
    boxes: int
    ap: float | None


@dataclass(frozen=True)
class Metrics:
    """COCO's detection metrics, each in 0..1, or None where there is nothing to measure.

    Attributes:
        ap: mean over IoU 0.50:0.95, recall and classes; ``ap50`` and ``ap75`` at one IoU.
        ap_small: boxes of at most 32^2, ``ap_medium`` 96^2 pixels of ``area_space``, ``ap_large`` above.
        ar1: recall with at most 1 detection per image and class; ``ar10``, ``ar100`` with more.
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
    ground_truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], *, where: str = "predictions"
) -> Metrics:
    """COCO metrics of one detector.

    Args:
        ground_truth: COCO dictionary with ``images``, ``categories`` and ``annotations``; left unchanged.
        predictions: COCO results: ``image_id``, ``category_id``, ``bbox`` [x, y, width, height] in pixels of
            the ground truth's images, ``score``; left unchanged.
        where: what to call the predictions in an error.

    Raises:
        DataError: see :func:`taco_kd.evaluate.inputs.check_coco`.
    """
    coco = check_coco(ground_truth, predictions, where=where)
    evaluator = COCOeval_faster(
        COCO(coco.ground_truth), COCO(coco.predictions), "bbox", print_function=_silent
    )
    evaluator.run()
    ap, ap50, ap75, ap_small, ap_medium, ap_large, ar1, ar10, ar100 = map(_defined, evaluator.stats[:9])
    per_class = _per_class(coco, evaluator.params.catIds, evaluator.eval["precision"])
    frequent = [each.ap for each in per_class if each.boxes >= FREQUENT_BOXES and each.ap is not None]
    return Metrics(
        ap=ap,
        ap50=ap50,
        ap75=ap75,
        ap_small=ap_small,
        ap_medium=ap_medium,
        ap_large=ap_large,
        ar1=ar1,
        ar10=ar10,
        ar100=ar100,
        per_class=per_class,
        ap_frequent=float(np.mean(frequent)) if frequent else None,
        images=len(coco.images),
        boxes=sum(each.boxes for each in per_class),
        area_space=coco.area_space,
    )


def _per_class(coco: CocoInput, category_ids: Sequence[int], precision: Any) -> tuple[ClassMetrics, ...]:
    """AP per class from ``precision`` [IoU threshold, recall, class, area range, detection limit]."""
    boxes = dict.fromkeys(coco.categories, 0)
    for box in coco.ground_truth["annotations"]:
        boxes[box["category_id"]] += 1 - box["iscrowd"]
    column = {int(category): k for k, category in enumerate(category_ids)}
    return tuple(
        ClassMetrics(name, boxes[category], _defined(np.mean(precision[:, :, column[category], 0, -1])))
        for category, name in coco.categories.items()
    )


def _defined(value: float) -> float | None:
    """COCO's -1 says that there was nothing to measure."""
    return None if value < 0 else float(value)


def _silent(*_: object) -> None:
    """faster-coco-eval logs by default; results are printed by the command line only."""
