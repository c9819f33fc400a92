"""COCO dictionaries, checked once and copied: the evaluators behind us write into what they are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from taco_kd.errors import DataError
from taco_kd.evaluate.coco_rows import parse, plain_results
from taco_kd.evaluate.columns import Floats, Ints, ResultColumns, index_of
from taco_kd.evaluate.truth import Areas, TruthColumns, check_ground_truth, refuse_unknown

__all__ = ["CocoInput", "check_coco", "parse", "refuse_outside"]


@dataclass(frozen=True)
class CocoInput:
    """Ground truth and predictions that belong together: as columns, and as two COCO datasets.

    Attributes:
        truth: the ground truth.
        found: the predictions.
        areas: in which pixels areas are measured.
    """

    truth: TruthColumns
    found: ResultColumns
    areas: Areas = "resized"

    @property
    def images(self) -> tuple[int, ...]:
        """Ids, ascending."""
        return tuple(self.truth.image_ids.tolist())

    @property
    def categories(self) -> dict[int, str]:
        """Id to name, in the order of the ground truth."""
        return dict(zip(self.truth.category_ids, self.truth.names, strict=True))

    @property
    def area_space(self) -> str:
        """In which pixels the areas are, for people."""
        return self.truth.area_space(self.areas)

    def box_areas(self) -> tuple[Floats, Floats]:
        """Areas of the true boxes [M] and of the predictions [N], in square pixels of ``areas``."""
        factor = self.truth.area_factor(self.areas)
        of_truth = factor[index_of(self.truth.box_image_ids, self.truth.image_ids)] * self.truth.box_areas
        boxes = self.found.boxes_xywh
        of_found = factor[index_of(self.found.image_ids, self.truth.image_ids)] * boxes[:, 2] * boxes[:, 3]
        return of_truth, of_found

    @cached_property
    def ground_truth(self) -> dict[str, Any]:
        """COCO dataset; annotations have ids from 1, ``area`` and ``iscrowd``."""
        truth = self.truth
        rows = _annotations(
            truth.box_image_ids, truth.box_category_ids, truth.boxes_xywh, self.box_areas()[0], truth.crowd
        )
        return self._shared() | {"annotations": rows}

    @cached_property
    def predictions(self) -> dict[str, Any]:
        """COCO dataset whose annotations are the predictions, with ``score``."""
        found = self.found
        crowd = np.zeros(len(found), dtype=np.int64)
        rows = _annotations(found.image_ids, found.category_ids, found.boxes_xywh, self.box_areas()[1], crowd)
        for row, score in zip(rows, found.scores.tolist(), strict=True):
            row["score"] = score
        return self._shared() | {"annotations": rows}

    def _shared(self) -> dict[str, Any]:
        sizes = np.where(np.isnan(self.truth.sizes), None, self.truth.sizes).tolist()  # type: ignore[call-overload]
        return {
            "images": [
                {"id": image, "width": width, "height": height}
                for image, (width, height) in zip(self.images, sizes, strict=True)
            ],
            "categories": [{"id": id_, "name": name} for id_, name in self.categories.items()],
        }


def check_coco(
    ground_truth: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    *,
    where: str = "predictions",
    areas: Areas = "resized",
) -> CocoInput:
    """Check a COCO ground truth and a COCO results list against each other; returns copies.

    Annotations are numbered anew from 1, because evaluators take an id of 0 for "not matched". Plain rows
    are checked as columns; only where something is unusual is every row looked at by itself.

    Args:
        areas: ``original`` measures areas in pixels of the original photos, whose sizes the images'
            ``original_width`` and ``original_height`` give.

    Raises:
        DataError: a missing key, a score or box that is not finite, a negative width or height, an unknown
            or repeated id, an empty box in the ground truth, a prediction entirely outside its image, an
            original size that is asked for and not known. The message names ``where`` and the index of the
            entry.
    """
    truth = check_ground_truth(ground_truth)
    found = ResultColumns.read(predictions)
    if found is None:
        found = ResultColumns.read(plain_results(predictions, where))
    assert found is not None, "what passes the schema is plain"
    refuse_unknown(f"{where}: ", found.image_ids, found.category_ids, truth)
    refuse_outside(where, found, truth)
    truth.area_factor(areas)
    return CocoInput(truth, found, areas)


def refuse_outside(where: str, found: ResultColumns, truth: TruthColumns) -> None:
    """Refuse boxes that do not touch their image: in pixels of the original photo, for one.

    Raises:
        DataError: the message names ``where`` and the index of the row.
    """
    place = index_of(found.image_ids, truth.image_ids)
    sizes, boxes = truth.sizes[place], found.boxes_xywh
    outside = (boxes[:, :2] > sizes).any(axis=1) | (boxes[:, :2] + boxes[:, 2:] < 0).any(axis=1)
    outside &= np.isfinite(sizes).all(axis=1)
    if outside.any():
        at = int(outside.argmax())
        raise DataError(
            f"{where}: {at}: bbox = {boxes[at].tolist()}: entirely outside image {found.image_ids[at]} "
            f"({sizes[at, 0]:g}x{sizes[at, 1]:g}); "
            "boxes must be [x, y, width, height] in pixels of the ground truth's image"
        )


def _annotations(
    image_ids: Ints, category_ids: Ints, boxes_xywh: Floats, areas: Floats, crowd: Ints
) -> list[dict[str, Any]]:
    columns = (image_ids.tolist(), category_ids.tolist(), boxes_xywh.tolist(), areas.tolist(), crowd.tolist())
    return [
        {"id": n, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": is_crowd}
        for n, (image, category, box, area, is_crowd) in enumerate(zip(*columns, strict=True), start=1)
    ]
