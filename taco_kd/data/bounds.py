"""Boxes that leave their image: a little is clipped, more is refused unless clipping was asked for."""

from __future__ import annotations

from taco_kd.data.records import Annotation, Finding
from taco_kd.errors import DataError

TOLERATED_PX = 2.0
"""Boxes that leave their image by no more than this are clipped without being asked: outlines drawn by hand
end a pixel outside now and then (seven boxes of the official TACO file do, by at most 1.32 pixels)."""

ROUNDING_PX = 0.01
"""Not worth a finding: writers round to two or three decimals."""


def with_box(who: str, annotation: Annotation) -> str:
    """``who`` with the annotation's box, for messages."""
    x, y, w, h = annotation.bbox_xywh
    return f"{who}: box [{x:g}, {y:g}, {w:g}, {h:g}]"


def fitted(
    annotation: Annotation,
    size: tuple[int, int],
    *,
    who: str,
    clip_boxes: bool,
    findings: list[Finding],
    found: str | None = None,
    file_name: str | None = None,
    annotation_id: int | None = None,
) -> Annotation | None:
    """``annotation`` inside an image of ``size`` (width, height); None when nothing of it was left.

    Args:
        who: the file and the box, for errors; and for findings, unless ``found`` says it otherwise.
        file_name, annotation_id: of the image and the annotation, where findings shall name them.

    Raises:
        DataError: it has no area in the image or leaves it by more than ``TOLERATED_PX``, and ``clip_boxes``
            is not set.
    """
    x, y, w, h = annotation.bbox_xywh
    found, image = found or who, file_name or "its image"
    over_px = max(-x, -y, x + w - size[0], y + h - size[1])
    if over_px > TOLERATED_PX and not clip_boxes:
        room = f"the {size[0]}x{size[1]} image"
        raise DataError(f"{who} leaves {room} by {over_px:.4g} px; correct it or add --clip-boxes")
    clipped = annotation.clipped(*size) if w > 0 and h > 0 else None
    if clipped is None:
        if not clip_boxes:
            raise DataError(f"{who} has no area in the image; correct it or drop it with --clip-boxes")
        line = f"{found} has no area in {image}, dropped"
        findings.append(Finding("dropped_box", line, file_name, annotation_id))
    elif over_px > ROUNDING_PX:
        line = f"{found} left {image} by {over_px:.4g} px, clipped"
        findings.append(Finding("clipped_box", line, file_name, annotation_id))
    return clipped
