"""Outline polygons of a boolean mask: boundary tracing and simplification."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Polygon = list[Point]

_TOLERANCE_PX = 0.7  # how far a simplified outline may run from the traced one


def polygon_area(polygon: Polygon) -> float:
    """Return the signed shoelace area in square pixels (positive: clockwise on screen)."""
    points = np.asarray(polygon, dtype=np.float64)
    x, y = points[:, 0], points[:, 1]
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def outlines(mask: NDArray[np.bool_], min_area_px: float) -> list[Polygon]:
    """Trace the outer outline of every 4-connected part of `mask` (rows, cols), largest first.

    Coordinates are pixel edges: pixel (row 0, col 0) covers x and y in [0, 1].  Holes are not
    reported (COCO polygons cannot say them) and parts below `min_area_px` are left out.
    The extreme points of a part stay, so the box of its polygon is the box of its pixels.
    """
    polygons = [_simplified(loop) for loop in _boundary_loops(mask)]
    sized = [(polygon_area(polygon), polygon) for polygon in polygons if len(polygon) >= 3]
    sized = [entry for entry in sized if entry[0] >= min_area_px]
    sized.sort(key=lambda entry: -entry[0])
    return [polygon for _, polygon in sized]


def _boundary_loops(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Follow the pixel edges between inside and outside, inside on the right; midpoints of the edges.

    Corners are numbered row by row, `stride` to a row, so that an edge is a step of 1 or `stride`.
    """
    inside = np.pad(mask, 1).astype(np.int8)
    stride = inside.shape[1]
    corner = np.arange(inside.size).reshape(inside.shape)  # the top left corner of each padded pixel
    down, right = np.diff(inside, axis=0), np.diff(inside, axis=1)
    rightward = corner[1:][down == 1]  # a pixel of the mask below, none above
    leftward = corner[1:][down == -1] + 1
    downward = corner[:, 1:][right == -1]
    upward = corner[:, 1:][right == 1] + stride
    # A corner where two parts touch has two edges out of it, in opposite directions.
    ahead = dict.fromkeys(rightward.tolist(), 1) | dict.fromkeys(downward.tolist(), stride)
    back = dict.fromkeys(leftward.tolist(), -1) | dict.fromkeys(upward.tolist(), -stride)
    after = {1: stride, stride: -1, -1: -stride, -stride: 1}  # a right turn

    loops = []
    while ahead:
        start = at = next(iter(ahead))
        first = step = ahead[start]
        corners = []
        while True:
            corners.append(at)
            at += step
            touching = at in ahead and at in back
            # Turning right keeps to the part being followed.
            step = after[step] if touching else ahead.get(at) or back[at]
            if at == start and step == first:
                break
            del (ahead if step > 0 else back)[at]
        del ahead[start]
        rows, cols = np.divmod(np.array(corners), stride)
        loop = np.stack([cols, rows], axis=1) - 1.0
        loops.append((loop + np.roll(loop, -1, axis=0)) / 2)
    return loops


def _simplified(loop: NDArray[np.float64]) -> Polygon:
    """Douglas-Peucker on a closed loop, split at its extreme points so that these are kept."""
    x, y = loop[:, 0], loop[:, 1]
    anchors = sorted({int(x.argmin()), int(y.argmin()), int(x.argmax()), int(y.argmax())})
    closed = np.concatenate([loop, loop[: anchors[0] + 1]])
    kept: list[int] = []
    for first, last in zip(anchors, [*anchors[1:], anchors[0] + len(loop)], strict=True):
        kept.extend(_keep(closed, first, last))
    return [(float(closed[i, 0]), float(closed[i, 1])) for i in kept]


def _keep(points: NDArray[np.float64], first: int, last: int) -> list[int]:
    """Indices from `first` (included) to `last` (left out) that the simplified line needs."""
    kept = [first]
    pending = [(first, last)]
    while pending:
        a, b = pending.pop()
        if b - a < 2:
            continue
        chord = points[b] - points[a]
        length = float(np.hypot(chord[0], chord[1]))
        offset = points[a + 1 : b] - points[a]
        if length > 0:
            distance = np.abs(offset[:, 0] * chord[1] - offset[:, 1] * chord[0]) / length
        else:
            distance = np.hypot(offset[:, 0], offset[:, 1])
        worst = int(distance.argmax())
        if distance[worst] > _TOLERANCE_PX:
            middle = a + 1 + worst
            kept.append(middle)
            pending += [(a, middle), (middle, b)]
    return sorted(kept)
