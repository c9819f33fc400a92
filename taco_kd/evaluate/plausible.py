"""Results of other tools in the wrong convention: what the numbers themselves give away.

Corner boxes, fractions of the image and pixels of another image size all parse as boxes and give an AP near
zero. Each is told from the ground truth: by coordinates that cannot be, and by which reading of the numbers
overlaps the true boxes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from taco_kd.errors import DataError
from taco_kd.evaluate.columns import Floats, Ints, ResultColumns, index_of
from taco_kd.evaluate.overlap import best_iou, iou_of
from taco_kd.evaluate.truth import TruthColumns

SAMPLE = 4000
"""Rows that are looked at, highest scores first: enough to tell, and quick on the largest file."""

_SLACK_PX = 2.0  # rounding, and detectors that do not clip
_LARGEST_FRACTION = 1.5  # no coordinate of a box in fractions of its image lies above
_SMALLEST_SIDE = 8  # of an image, in pixels, below which fractions cannot be told from pixels
_GAIN = 0.4  # of overlap that one box must gain by another reading; N boxes together sqrt(N) of it
_ROWS_AGREE = 0.99


def refuse_implausible(found: ResultColumns, truth: TruthColumns, *, where: str) -> None:
    """Refuse results whose boxes are clearly not [x, y, width, height] in pixels of the images.

    Rows of unknown images are passed over: they are refused elsewhere.

    Raises:
        DataError: fractions instead of pixels, corners instead of sizes, pixels of the original photos,
            or boxes that mostly leave their images; the line says which and names a row.
    """
    image = index_of(found.image_ids, truth.image_ids)
    best_first = np.argsort(-found.scores, kind="stable")
    rows = best_first[image[best_first] >= 0][:SAMPLE]
    if not len(rows):
        return
    box_image = index_of(truth.box_image_ids, truth.image_ids)
    boxes, image = found.boxes_xywh[rows], image[rows]
    sizes, originals = truth.sizes[image], truth.originals[image]
    row = int(rows.min())
    example = f"{where}: {row}: bbox = {_shown(found.boxes_xywh[row])}"

    if boxes.max() <= _LARGEST_FRACTION and sizes[np.isfinite(sizes)].min(initial=np.inf) >= _SMALLEST_SIDE:
        raise DataError(
            f"{example}: boxes look like fractions of the image (0..1); "
            "multiply by the image's width and height: [x, y, width, height] in pixels"
        )
    overlap = best_iou(boxes, image, truth.boxes_xywh, box_image)
    leaving = _leaves(boxes, sizes)
    if len(box_image) and _leaves(truth.boxes_xywh, truth.sizes[box_image]).mean() > 0.1:
        leaving[:] = False  # true boxes do too: the sizes of the images say nothing
    if _could_be_corners(boxes, sizes):
        corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        telling = iou_of(boxes, corners) < 0.5  # the two readings differ
        gained = (best_iou(corners, image, truth.boxes_xywh, box_image) - overlap)[telling]
        impossible = leaving.mean() > 0.2 and gained.sum() >= 0
        if impossible or gained.sum() > _GAIN * np.sqrt(max(len(gained), 1)):
            raise DataError(
                f"{_first(found, rows[leaving], row, where)}: boxes look like [x1, y1, x2, y2]; "
                "write [x, y, width, height]: width = x2 - x1, height = y2 - y1"
            )
    if np.isfinite(originals).all() and (originals != sizes).any():
        scaled = boxes * np.tile(sizes / originals, 2)
        gained = best_iou(scaled, image, truth.boxes_xywh, box_image) - overlap
        if gained.sum() > _GAIN * np.sqrt(len(rows)) and _leaves(scaled, sizes).mean() < 0.05:
            raise DataError(
                f"{_first(found, rows[leaving], row, where)}: boxes look like pixels of the original photos "
                f"({_size(originals[0])} here); scale them to the ground truth's images ({_size(sizes[0])})"
            )
    if leaving.mean() > 0.5:
        raise DataError(
            f"{_first(found, rows[leaving], row, where)}: {leaving.mean():.0%} of the boxes leave their "
            f"images ({_size(sizes[0])} here); boxes must be [x, y, width, height] in pixels of these images"
        )


def _could_be_corners(boxes: Floats, sizes: Floats) -> bool:
    ordered = (boxes[:, 2] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 1])
    inside = ~(boxes[:, 2:] > sizes + _SLACK_PX).any(axis=1)  # NaN sizes hold everything
    return bool((ordered & inside).mean() >= _ROWS_AGREE)


def _leaves(boxes: Floats, sizes: Floats) -> npt.NDArray[np.bool_]:
    """[N] boxes that end outside their image by more than a tenth of its side."""
    return np.asarray((boxes[:, :2] + boxes[:, 2:] > 1.1 * sizes + _SLACK_PX).any(axis=1))


def _first(found: ResultColumns, leaving: Ints, otherwise: int, where: str) -> str:
    """The row to show: the first that cannot be, if there is one."""
    row = int(leaving.min()) if len(leaving) else otherwise
    return f"{where}: {row}: bbox = {_shown(found.boxes_xywh[row])}"


def _size(pair: Floats) -> str:
    return f"{pair[0]:g}x{pair[1]:g}"


def _shown(box: Floats) -> list[float]:
    return [round(float(value), 4) for value in box]
