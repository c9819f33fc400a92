"""Match detections to boxes once; then average precision under any integer weights of the images is cheap.

A bootstrap resample is a weighting: an image drawn twice weighs 2. Shapes: T IoU thresholds, D detections of
one class, I images, C classes, B weightings.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from taco_kd.evaluate.inputs import CocoInput, check_coco

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

RECALLS = np.linspace(0.0, 1.0, 101)
"""The recall levels at which COCO reads the precision."""

MAX_DETECTIONS = 100
"""Per image and class, as COCO has it."""

BATCH_ELEMENTS = 1_000_000
"""Largest temporary array of :meth:`Matches.class_ap`, in elements."""


@dataclass(frozen=True)
class ClassMatches:
    """Detections of one class, highest score first; among equal scores, in the order of the image ids.

    Attributes:
        scores: [D].
        image_index: [D] index of the image in ``Matches.image_ids``.
        hit: [T, D] matched to a box that counts.
        ignored: [T, D] counts neither as a hit nor as an error: matched to a crowd.
        boxes: [I] boxes that count in each image.
    """

    scores: Floats
    image_index: Ints
    hit: Bools
    ignored: Bools
    boxes: Ints

    @classmethod
    def sort(cls, scores: Floats, image_index: Ints, hit: Bools, ignored: Bools, boxes: Ints) -> ClassMatches:
        """From detections in the order of their images. Stable, as in COCO: order decides between ties."""
        order = np.argsort(-scores, kind="mergesort")
        return cls(scores[order], image_index[order], hit[:, order], ignored[:, order], boxes)


@dataclass(frozen=True)
class Matches:
    """What COCO's matching found for one detector: all areas, at most 100 detections per image and class.

    Attributes:
        image_ids: ids, ascending; I of them.
        class_names: C names in ascending order of the category ids.
        classes: for each class its detections.
    """

    image_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    classes: tuple[ClassMatches, ...]

    def class_ap(self, weights: Ints) -> Floats:
        """AP of each class when image i counts ``weights[:, i]`` times.

        The same as COCO's AP of a dataset that holds each image so many times. (Detections of one class in
        one image with exactly equal scores are repeated one by one, not in turns; no other order differs.)

        Args:
            weights: [B, I] counts, 0 or more.

        Returns:
            [B, C] in 0..1; NaN where the weighted images hold no box of the class.
        """
        counts = np.ascontiguousarray(weights.T)
        return np.stack([_ap(each, counts) for each in self.classes], axis=1)

    def ap(self, weights: Ints | None = None) -> Floats:
        """Mean over classes of :meth:`class_ap`, [B]; without weights every image counts once.

        NaN where no image with a box has a weight.
        """
        if weights is None:
            weights = np.ones((1, len(self.image_ids)), dtype=np.int64)
        per_class = self.class_ap(weights)
        defined = np.isfinite(per_class)
        number = defined.sum(axis=1)
        total = np.where(defined, per_class, 0.0).sum(axis=1)
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _ap(one: ClassMatches, counts: Ints) -> Floats:
    """AP [B] of one class for image counts [I, B].

    Precision can only peak at a hit, and recall only rises there, so it is enough to look at the hits. A hit
    that counts n times is n hits in a row, of which the last has the highest precision.
    """
    boxes = one.boxes @ counts
    relevant = np.flatnonzero(one.hit.any(axis=0))
    result = np.zeros(counts.shape[1])
    if len(relevant):
        end = int(relevant[-1]) + 1  # detections after the last hit change nothing
        width = max(1, BATCH_ELEMENTS // end)
        for start in range(0, counts.shape[1], width):
            part = slice(start, start + width)
            result[part] = _ap_of_hits(one, end, counts[:, part], np.maximum(boxes[part], 1))
    return np.where(boxes > 0, result, np.nan)


def _ap_of_hits(one: ClassMatches, end: int, counts: Ints, boxes: Ints) -> Floats:
    copies = counts[one.image_index[:end]]  # [D, B]: how often each detection counts
    seen = copies.cumsum(axis=0)
    total = np.zeros(counts.shape[1])
    for hit, ignored in zip(one.hit[:, :end], one.ignored[:, :end], strict=True):
        at = np.flatnonzero(hit)
        if not len(at):
            continue
        hits = copies[at].cumsum(axis=0)
        detections = seen[at]
        if ignored.any():
            detections = detections - (copies * ignored[:, None]).cumsum(axis=0)[at]
        precision = hits / (detections + np.spacing(1))
        best_from_here = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        levels = np.searchsorted(RECALLS, hits / boxes, side="right")  # recall levels reached by each hit
        total += (best_from_here * np.diff(levels, axis=0, prepend=0)).sum(axis=0)
    return total / (len(one.hit) * len(RECALLS))


def match(
    ground_truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], *, where: str = "predictions"
) -> Matches:
    """Match one detector's predictions to the ground truth, by pycocotools; arguments are left unchanged.

    Raises:
        DataError: see :func:`taco_kd.evaluate.inputs.check_coco`.
    """
    coco = check_coco(ground_truth, predictions, where=where)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        evaluator = COCOeval(_index(coco.ground_truth), _index(coco.predictions), "bbox")
        evaluator.params.areaRng = evaluator.params.areaRng[:1]
        evaluator.params.areaRngLbl = evaluator.params.areaRngLbl[:1]
        evaluator.params.maxDets = [MAX_DETECTIONS]
        evaluator.evaluate()
    thresholds = len(evaluator.params.iouThrs)
    number = len(coco.images)
    classes = [
        _collect(evaluator.evalImgs[k * number : (k + 1) * number], thresholds)
        for k in range(len(coco.categories))
    ]
    return Matches(coco.images, _sorted_names(coco), tuple(classes))


def _collect(per_image: Sequence[dict[str, Any] | None], thresholds: int) -> ClassMatches:
    """One class from pycocotools' results for each image; None is an image without detections and boxes."""
    scores: list[Any] = [np.zeros(0)]
    image_index: list[Any] = [np.zeros(0, dtype=np.int64)]
    hit: list[Any] = [np.zeros((thresholds, 0), dtype=bool)]
    ignored: list[Any] = [np.zeros((thresholds, 0), dtype=bool)]
    boxes = np.zeros(len(per_image), dtype=np.int64)
    for index, found in enumerate(per_image):
        if found is None:
            continue
        ignore = np.asarray(found["dtIgnore"], dtype=bool)
        scores.append(np.asarray(found["dtScores"], dtype=float))
        image_index.append(np.full(len(found["dtScores"]), index))
        hit.append((found["dtMatches"] > 0) & ~ignore)
        ignored.append(ignore)
        boxes[index] = np.count_nonzero(np.asarray(found["gtIgnore"]) == 0)
    return ClassMatches.sort(
        np.concatenate(scores),
        np.concatenate(image_index),
        np.concatenate(hit, axis=1),
        np.concatenate(ignored, axis=1),
        boxes,
    )


def _index(dataset: dict[str, Any]) -> Any:
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _sorted_names(coco: CocoInput) -> tuple[str, ...]:
    return tuple(coco.categories[category] for category in sorted(coco.categories))
