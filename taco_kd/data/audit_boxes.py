"""Checks of the boxes of one image: their place, and each against the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taco_kd.data.audit_kinds import Found
from taco_kd.data.bounds import ROUNDING_PX
from taco_kd.data.coco_schema import CocoAnnotation, CocoImage

SAME_BOX_IOU = 0.95
"""Two boxes that overlap so much are one box."""
MASK_IOU = 0.7
"""The box around an annotation's polygons must overlap its own box so much."""
_SLIVER_PX = 4.0  # boxes of so few pixels miss MASK_IOU by rounding


def place_of(entry: CocoAnnotation, image: CocoImage) -> tuple[Found | None, list[float] | None]:
    """What is wrong with the place of a box, and the box clamped to its image; None: nothing is left."""
    x, y, w, h = entry.bbox
    who = f"annotation id {entry.id} in {image.file_name}: bbox {_short(entry.bbox)}"
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, image.width), min(y + h, image.height)
    if w <= 0 or h <= 0 or right <= left or bottom <= top:
        line = f"{who} has no area in the {image.width}x{image.height} image"
        return Found("degenerate_box", line, image.file_name, entry.id, "dropped"), None
    over_px = max(-x, -y, x + w - image.width, y + h - image.height)
    if over_px <= ROUNDING_PX:
        return None, entry.bbox
    clamped = [left, top, right - left, bottom - top]
    line = f"{who} leaves the {image.width}x{image.height} image by {over_px:.4g} px"
    done = f"clamped to {_short(clamped)}"
    return Found("box_out_of_bounds", line, image.file_name, entry.id, done), clamped


def against_each_other(
    entries: Sequence[CocoAnnotation], image: CocoImage, class_names: Mapping[int, str]
) -> Iterator[Found]:
    """Boxes of one image that are the same box: twice of one class, or of two classes."""
    if len(entries) < 2:
        return
    overlap = iou_matrix(np.array([entry.bbox for entry in entries], dtype=np.float64))
    for later, earlier in np.argwhere(np.tril(overlap >= SAME_BOX_IOU, k=-1)):
        one, other = entries[earlier], entries[later]
        if one.iscrowd or other.iscrowd:
            continue
        both = f"annotation id {other.id} in {image.file_name}: the box {_short(other.bbox)}"
        if one.category_id == other.category_id:
            line = f"{both} is that of annotation id {one.id} and has its class"
            yield Found("duplicate_box", line, image.file_name, other.id, "dropped")
        else:
            names = [class_names.get(e.category_id, "?") for e in (other, one)]
            line = f"{both} is that of annotation id {one.id}, but {names[0]!r} and not {names[1]!r}"
            yield Found("contradicting_boxes", line, image.file_name, other.id)


def mask_against_box(entry: CocoAnnotation, image: CocoImage) -> Found | None:
    """A finding where the polygons of an annotation lie elsewhere than its box."""
    polygons = entry.segmentation if isinstance(entry.segmentation, list) else []
    points = [p for p in polygons if len(p) >= 6 and len(p) % 2 == 0]
    if not points or min(entry.bbox[2:]) < _SLIVER_PX:
        return None
    corners = np.concatenate([np.reshape(p, (-1, 2)) for p in points])
    low, high = corners.min(axis=0), corners.max(axis=0)
    around = [*low, *(high - low)]
    overlap = float(iou_matrix(np.array([entry.bbox, around]))[0, 1])
    if overlap >= MASK_IOU:
        return None
    line = (
        f"annotation id {entry.id} in {image.file_name}: bbox {_short(entry.bbox)}, but its polygons lie in "
        f"{_short(around)} (IoU {overlap:.2f})"
    )
    return Found("mask_box_disagree", line, image.file_name, entry.id)


def iou_matrix(boxes_xywh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of all pairs of [N, 4] boxes: [N, N]; 0 where a box has no area."""
    x, y, w, h = boxes_xywh.T
    across = np.minimum.outer(x + w, x + w) - np.maximum.outer(x, x)
    down = np.minimum.outer(y + h, y + h) - np.maximum.outer(y, y)
    shared = np.clip(across, 0, None) * np.clip(down, 0, None)
    union = np.add.outer(w * h, w * h) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _short(box: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in box) + "]"


def box_json(entry: CocoAnnotation, box: Sequence[float]) -> dict[str, Any]:
    """The keys of an annotation that change when its box is clamped."""
    polygons = entry.segmentation if isinstance(entry.segmentation, list) else None
    x, y, w, h = box
    clamped: dict[str, Any] = {"bbox": [float(v) for v in box]}
    if polygons is not None:
        edges = ((x, x + w), (y, y + h))
        clamped["segmentation"] = [
            [min(max(v, edges[k % 2][0]), edges[k % 2][1]) for k, v in enumerate(polygon)]
            for polygon in polygons
        ]
    if entry.area is not None:
        clamped["area"] = min(entry.area, w * h)
    return clamped
