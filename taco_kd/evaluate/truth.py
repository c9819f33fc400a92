"""A COCO ground truth as numpy columns, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from taco_kd.errors import DataError
from taco_kd.evaluate.coco_rows import first_repeat, plain_truth
from taco_kd.evaluate.columns import Floats, Ints, boxes_of, fields, floats, index_of, ints

Areas = Literal["resized", "original"]
"""Pixels in which box areas are measured: those of the (prepared) images, or those of the original photos."""
AREAS: tuple[Areas, ...] = ("resized", "original")


@dataclass(frozen=True)
class TruthColumns:
    """I images, C classes, M boxes.

    Attributes:
        image_ids: [I] ascending.
        sizes: [I, 2] width and height in pixels; NaN where not given.
        originals: [I, 2] of the photo before it was prepared; NaN where not given.
        contents: [I, 2] of the photo in the image, where it does not fill it (a letterbox); else NaN.
        category_ids: C ids in the order of the ground truth, with their ``names``.
        box_image_ids: [M].
        box_category_ids: [M].
        boxes_xywh: [M, 4] in pixels of the image.
        box_areas: [M] in square pixels of the image; of the mask where the annotation has one.
        crowd: [M] is a crowd: neither to be found nor an error to be found.
    """

    image_ids: Ints
    sizes: Floats
    originals: Floats
    contents: Floats
    category_ids: tuple[int, ...]
    names: tuple[str, ...]
    box_image_ids: Ints
    box_category_ids: Ints
    boxes_xywh: Floats
    box_areas: Floats
    crowd: Ints

    def area_factor(self, areas: Areas) -> Floats:
        """[I] what an area in pixels of the image is multiplied with.

        Raises:
            DataError: the original size of an image is not known.
        """
        if areas == "resized":
            return np.ones(len(self.image_ids))
        unknown = ~(np.isfinite(self.originals).all(axis=1) & np.isfinite(self.sizes).all(axis=1))
        if unknown.any():
            raise DataError(
                f"ground truth: image {self.image_ids[unknown.argmax()]} has no original_width and "
                "original_height, so areas at the original size are not known; use --areas resized"
            )
        # In a letterbox the photo fills only a part of the image.
        shown = np.where(np.isfinite(self.contents), self.contents, self.sizes)
        return np.asarray(self.originals.prod(axis=1) / shown.prod(axis=1))

    def area_space(self, areas: Areas) -> str:
        """In which pixels areas are, for people."""
        if areas == "original":
            return "pixels of the original photos"
        sizes = np.unique(self.sizes, axis=0)
        if len(sizes) == 1 and np.isfinite(sizes).all():
            return f"{sizes[0, 0]:g}x{sizes[0, 1]:g} pixels of the prepared image"
        return "pixels of the prepared images"


def check_ground_truth(ground_truth: Mapping[str, Any], *, where: str = "ground truth") -> TruthColumns:
    """The columns of a COCO dictionary, which is left unchanged.

    Raises:
        DataError: a missing key, a number that is not finite, an unknown or repeated id, an empty box; the
            message names ``where`` and the index of the entry.
    """
    columns = _read(ground_truth)
    if columns is None:
        columns = _read(plain_truth(ground_truth, where))
    assert columns is not None, "what passes the schema is plain"
    truth, annotation_ids = columns
    _refuse_repeats(where, "image", truth.image_ids)
    _refuse_repeats(where, "category", np.array(truth.category_ids))
    _refuse_repeats(where, "annotation", annotation_ids)
    refuse_unknown(f"{where}: annotations.", truth.box_image_ids, truth.box_category_ids, truth)
    empty = (truth.boxes_xywh[:, 2:] == 0).any(axis=1)
    if empty.any():
        at = int(empty.argmax())
        box = truth.boxes_xywh[at].tolist()
        raise DataError(f"{where}: annotations.{at}: bbox = {box}: the box is empty")
    return truth


def refuse_unknown(prefix: str, image_ids: Ints, category_ids: Ints, truth: TruthColumns) -> None:
    """Refuse the first row whose image or class the ground truth does not have.

    Raises:
        DataError: the message starts with ``prefix`` and the index of the row.
    """
    no_image = index_of(image_ids, truth.image_ids) < 0
    no_category = index_of(category_ids, np.sort(np.array(truth.category_ids, dtype=np.int64))) < 0
    wrong = no_image | no_category
    if not wrong.any():
        return
    at = int(wrong.argmax())
    if no_image[at]:
        raise DataError(f"{prefix}{at}: image_id = {image_ids[at]}: the ground truth has no such image")
    lowest, highest = min(truth.category_ids), max(truth.category_ids)
    raise DataError(
        f"{prefix}{at}: category_id = {category_ids[at]}: the ground truth has {len(truth.category_ids)} "
        f"categories, {lowest} to {highest}, and not this one"
    )


def _read(value: Any) -> tuple[TruthColumns, Ints] | None:
    """The columns and the ids of the annotations; None where anything is unusual or wrong."""
    try:
        images, categories, boxes = (list(value[key]) for key in ("images", "categories", "annotations"))
        (image_id,) = fields(images, "id")
        category_id, names = fields(categories, "id", "name")
        columns = fields(boxes, "id", "image_id", "category_id", "bbox")
        crowd, areas = [box.get("iscrowd", 0) for box in boxes], [box.get("area") for box in boxes]
        sizes, originals, contents = (_sizes(images, of) for of in ("", "original_", "content_"))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    image_ids, category_ids, boxes_xywh = ints(image_id), ints(category_id), boxes_of(columns[3])
    box_ids, box_image_ids, box_category_ids = (ints(column) for column in columns[:3])
    known_areas = _lengths([area for area in areas if area is not None])
    plain = images and categories and set(map(type, names)) == {str}
    if not plain or not set(map(type, crowd)) <= {int, bool} or not set(crowd) <= {0, 1}:
        return None
    if image_ids is None or category_ids is None or sizes is None or originals is None or contents is None:
        return None
    if box_ids is None or box_image_ids is None or box_category_ids is None:
        return None
    if boxes_xywh is None or known_areas is None:
        return None
    box_areas = boxes_xywh[:, 2] * boxes_xywh[:, 3]
    box_areas[np.array([area is not None for area in areas], dtype=bool)] = known_areas
    order = np.argsort(image_ids, kind="stable")
    truth = TruthColumns(
        image_ids=image_ids[order],
        sizes=sizes[order],
        originals=originals[order],
        contents=contents[order],
        category_ids=tuple(category_ids.tolist()),
        names=tuple(names),
        box_image_ids=box_image_ids,
        box_category_ids=box_category_ids,
        boxes_xywh=boxes_xywh,
        box_areas=box_areas,
        crowd=np.array(crowd, dtype=np.int64),
    )
    return truth, box_ids


def _lengths(values: list[Any]) -> Floats | None:
    known = floats(values)
    return None if known is None or (known < 0).any() else known


def _sizes(images: list[Any], prefix: str) -> Floats | None:
    """[I, 2] width and height, NaN where not given; None where one is no length."""
    flat = [image.get(f"{prefix}{side}") for image in images for side in ("width", "height")]
    known = _lengths([value for value in flat if value is not None])
    if known is None:
        return None
    sizes = np.full(len(flat), np.nan)
    sizes[np.array([value is not None for value in flat], dtype=bool)] = known
    return sizes.reshape(-1, 2)


def _refuse_repeats(where: str, what: str, ids: Ints) -> None:
    if len(np.unique(ids)) < len(ids):
        raise DataError(f"{where}: {what} id {first_repeat(ids.tolist())} occurs twice; ids must be unique")
