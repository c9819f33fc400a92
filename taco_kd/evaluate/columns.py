"""COCO rows as numpy columns, read at full speed; anything unusual is left to the slow, talkative checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ResultColumns:
    """N rows of a COCO results list.

    Attributes:
        image_ids: [N].
        category_ids: [N].
        boxes_xywh: [N, 4] left, top, width, height in pixels.
        scores: [N].
    """

    image_ids: Ints
    category_ids: Ints
    boxes_xywh: Floats
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def read(cls, rows: Sequence[Mapping[str, Any]]) -> ResultColumns | None:
        """The columns of plain rows with finite numbers, or None where anything else is among them.

        Plain: dictionaries with Python's own int and float, boxes as lists or tuples of four.
        """
        try:
            images, categories, boxes, scores = fields(rows, "image_id", "category_id", "bbox", "score")
        except (KeyError, TypeError, ValueError, IndexError):
            return None
        image_ids, category_ids = ints(images), ints(categories)
        boxes_xywh, score = boxes_of(boxes), floats(scores)
        if image_ids is None or category_ids is None or boxes_xywh is None or score is None:
            return None
        return cls(image_ids, category_ids, boxes_xywh, score)


def fields(rows: Sequence[Mapping[str, Any]], *names: str) -> list[list[Any]]:
    """One list of values a name; KeyError or TypeError where a row lacks it or is no mapping."""
    return [[row[name] for row in rows] for name in names]


def ints(values: Sequence[Any]) -> Ints | None:
    """[N] of Python ints that fit 64 bits; None if there is anything else, ``True`` included."""
    if not set(map(type, values)) <= {int}:
        return None
    try:
        return np.fromiter(values, dtype=np.int64, count=len(values))
    except OverflowError:
        return None


def floats(values: Sequence[Any]) -> Floats | None:
    """[N] of finite Python floats and ints; None if there is anything else."""
    return _finite(values, len(values)) if set(map(type, values)) <= {int, float} else None


def boxes_of(values: Sequence[Any]) -> Floats | None:
    """[N, 4] of boxes with four finite numbers each, no width or height negative; otherwise None."""
    if not set(map(type, values)) <= {list, tuple} or not set(map(len, values)) <= {4}:
        return None
    flat = list(chain.from_iterable(values))
    numbers = floats(flat)
    if numbers is None:
        return None
    boxes = numbers.reshape(-1, 4)
    return None if (boxes[:, 2:] < 0).any() else boxes


def _finite(values: Iterable[Any], count: int) -> Floats | None:
    try:
        numbers = np.fromiter(values, dtype=np.float64, count=count)
    except OverflowError:  # an int beyond the largest float
        return None
    return numbers if np.isfinite(numbers).all() else None


def index_of(ids: Ints, known: Ints) -> Ints:
    """[N] place of each id in the ascending ``known``, -1 where it is not in there."""
    if not len(known):
        return np.full(len(ids), -1, dtype=np.int64)
    place = np.searchsorted(known, ids).clip(max=len(known) - 1)
    return np.where(known[place] == ids, place, -1)
