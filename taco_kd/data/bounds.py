"""Boxes that leave their image: a little is clipped, more is refused unless clipping was asked for."""

from __future__ import annotations

from taco_kd.data.coco import TOLERATED_PX
from taco_kd.data.records import Annotation, Finding
from taco_kd.errors import DataError

_ROUNDING_PX = 0.01  # not worth a finding: writers round to a few decimals


def fitted(
    annotation: Annotation, size: tuple[int, int], *, who: str, clip_boxes: bool, findings: list[Finding]
) -> Annotation | None:
    """``annotation`` inside an image of ``size`` (width, height); None when nothing of it was left.

    Args:
        who: the file and line, for messages.

    Raises:
        DataError: it has no area in the image or leaves it by more than ``TOLERATED_PX``, and ``clip_boxes``
            is not set.
    """
    x, y, w, h = annotation.bbox_xywh
    box = f"box [{x:g}, {y:g}, {w:g}, {h:g}]"
    over_px = max(-x, -y, x + w - size[0], y + h - size[1])
    if over_px > TOLERATED_PX and not clip_boxes:
        image = f"the {size[0]}x{size[1]} image"
        raise DataError(f"{who}: {box} leaves {image} by {over_px:.4g} px; correct it or add --clip-boxes")
    clipped = annotation.clipped(*size) if w > 0 and h > 0 else None
    if clipped is None:
        if not clip_boxes:
            raise DataError(f"{who}: {box} has no area in the image; correct it or drop it with --clip-boxes")
        findings.append(Finding("dropped_box", f"{who}: {box} has no area in its image, dropped"))
    elif over_px > _ROUNDING_PX:
        findings.append(Finding("clipped_box", f"{who}: {box} left its image by {over_px:.4g} px, clipped"))
    return clipped
