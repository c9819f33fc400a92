"""Average precision under any integer weights of the images, from detections that were matched once.

A bootstrap resample is a weighting: an image drawn twice weighs 2. Shapes: T IoU thresholds, D detections of
one class, I images, C classes, B weightings, H hits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

RECALLS = np.linspace(0.0, 1.0, 101)
"""The recall levels at which COCO reads the precision."""

BATCH_ELEMENTS = 500_000
"""Largest temporary array of :meth:`Matches.class_ap`, in elements; about what a processor's cache holds."""


@dataclass(frozen=True)
class ClassMatches:
    """Detections of one class, highest score first; among equal scores, in the order of the image ids.

    Attributes:
        scores: [D].
        image_index: [D] index of the image in ``Matches.image_ids``.
        hit: [T, D] matched to a box that counts.
        ignored: [T, D] counts neither as a hit nor as an error: matched to a crowd or to a box of another
            size, or of another size itself.
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

    @cached_property
    def _hits(self) -> _Hits:
        return _Hits(self)

    def ap(self, counts: Floats) -> Floats:
        """AP [B] for image counts [I, B]; NaN where they hold no box of the class."""
        boxes = self.boxes @ counts
        result = np.zeros(counts.shape[1])
        width = max(1, BATCH_ELEMENTS // max(1, len(self._hits.places)))
        for start in range(0, counts.shape[1], width):
            part = slice(start, start + width)
            result[part] = self._hits.ap(counts[:, part], np.maximum(boxes[part], 1))
        return np.where(boxes > 0, result, np.nan)


class _Hits:
    """What AP needs of a class: its hits, and how many detections of each image lie between two of them.

    Precision can only peak at a hit, and recall only rises there, so it is enough to look at the hits. A hit
    that counts n times is n hits in a row, of which the last has the highest precision.
    """

    def __init__(self, one: ClassMatches) -> None:
        self.thresholds = len(one.hit)
        self.places = np.flatnonzero(one.hit.any(axis=0))
        shape = (len(self.places), len(one.boxes))
        end = (
            int(self.places[-1]) + 1 if len(self.places) else 0
        )  # detections after the last hit change nothing

        def between(chosen: Bools) -> Any:
            """[H, I] chosen detections of each image from the hit before (exclusive) to this one."""
            at = np.flatnonzero(chosen[:end])
            row = np.searchsorted(self.places, at)
            return csr_matrix((np.ones(len(at)), (row, one.image_index[at])), shape=shape)

        everywhere = np.asarray(one.ignored.all(axis=0))
        self.detections = between(~everywhere)
        self.rows: list[Ints] = []
        self.images: list[Ints] = []
        self.ignored: list[Any] = []
        for hit, ignored in zip(one.hit, one.ignored, strict=True):
            self.rows.append(np.searchsorted(self.places, np.flatnonzero(hit)))
            self.images.append(one.image_index[hit])
            only_here = ignored & ~everywhere
            self.ignored.append(between(only_here) if only_here[:end].any() else None)

    def ap(self, counts: Floats, boxes: Floats) -> Floats:
        """[B] for image counts [I, B] and boxes [B], at least 1 each."""
        total = np.zeros(counts.shape[1])
        if not len(self.places):
            return total
        seen = np.cumsum(self.detections @ counts, axis=0)
        for rows, images, ignored in zip(self.rows, self.images, self.ignored, strict=True):
            if not len(rows):
                continue
            hits = np.cumsum(counts[images], axis=0)
            detections = seen[rows] if ignored is None else (seen - np.cumsum(ignored @ counts, axis=0))[rows]
            precision = hits / (detections + np.spacing(1))
            np.maximum.accumulate(precision[::-1], axis=0, out=precision[::-1])  # best from here on
            levels = np.searchsorted(RECALLS, hits / boxes, side="right")  # recall levels reached by each hit
            total += (precision * np.diff(levels, axis=0, prepend=0)).sum(axis=0)
        return total / (self.thresholds * len(RECALLS))


@dataclass(frozen=True)
class Matches:
    """What COCO's matching found for one detector in one range of areas, at most 100 an image and class.

    Attributes:
        image_ids: ids, ascending; I of them.
        class_names: C names in ascending order of the category ids.
        classes: for each class its detections.
    """

    image_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    classes: tuple[ClassMatches, ...]

    @property
    def boxes(self) -> Ints:
        """[C] boxes of each class that count."""
        return np.array([int(one.boxes.sum()) for one in self.classes], dtype=np.int64)

    def class_ap(self, weights: Ints) -> Floats:
        """AP of each class when image i counts ``weights[:, i]`` times.

        The same as COCO's AP of a dataset that holds each image so many times. (Detections of one class in
        one image with exactly equal scores are repeated one by one, not in turns; no other order differs.)

        Args:
            weights: [B, I] counts, 0 or more.

        Returns:
            [B, C] in 0..1; NaN where the weighted images hold no box of the class.
        """
        counts = np.ascontiguousarray(weights.T, dtype=np.float64)
        return np.stack([each.ap(counts) for each in self.classes], axis=1)

    def ap(self, weights: Ints | None = None) -> Floats:
        """Mean over classes of :meth:`class_ap`, [B]; without weights every image counts once.

        NaN where no image with a box has a weight.
        """
        if weights is None:
            weights = np.ones((1, len(self.image_ids)), dtype=np.int64)
        return mean_over_classes(self.class_ap(weights))

    def of_images(self, chosen: Ints) -> Matches:
        """The matches of the images at the indices ``chosen``, in that order; an image may come twice.

        Images are told apart by their place only, so a set drawn with replacement is a new dataset.
        """
        return Matches(
            tuple(range(len(chosen))),
            self.class_names,
            tuple(_of_images(one, chosen) for one in self.classes),
        )


def _of_images(one: ClassMatches, chosen: Ints) -> ClassMatches:
    by_image = np.argsort(one.image_index, kind="stable")
    starts = np.searchsorted(one.image_index[by_image], np.arange(len(one.boxes) + 1))
    sizes = (starts[1:] - starts[:-1])[chosen]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = by_image[np.repeat(starts[chosen], sizes) + within]
    return ClassMatches.sort(
        one.scores[kept],
        np.repeat(np.arange(len(chosen)), sizes),
        one.hit[:, kept],
        one.ignored[:, kept],
        one.boxes[chosen],
    )


def mean_over_classes(per_class: Floats) -> Floats:
    """[..., C] -> [...]: the mean of the classes that are defined; NaN where none is."""
    defined = np.isfinite(per_class)
    number = defined.sum(axis=-1)
    total = np.where(defined, per_class, 0.0).sum(axis=-1)
    return np.asarray(np.where(number > 0, total / np.maximum(number, 1), np.nan))
