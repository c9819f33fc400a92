"""Do the outlines of an image lie on edges in its pixels, or would they if the labels were turned?

Labels that were drawn on an image shown in another orientation (an EXIF tag that one program applied and
another did not) are right in themselves, so that no check of the file finds them. But an outline follows
edges of the picture, and turned by 90, 180 or 270 degrees it follows them by chance only. The measure
compares an image with itself: the outlines as they are against the same outlines turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from taco_kd.data.records import Annotation

SIDE = 320
"""Images are looked at as squares of this side in pixels."""
MARGIN = 0.1
"""A turned fit must be better by this. On 223 photographs with right outlines no margin is above 0.05; of
their labels turned on purpose 98 % are found: docs/results/2026-11-25-audit.md."""
BOX_MARGIN = 0.15
"""The same where there are boxes only: edges of boxes lie beside the object, and only a third is found."""
_STEP = 1.5  # pixels between two points of an outline
_SMALLEST_OUTLINE = 12  # points in all outlines together: fewer say nothing
_LEVELS = 4096

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LabelTurn:
    """How well the labels of one image fit, as they are and turned.

    Attributes:
        fits: for 0, 90, 180 and 270 degrees clockwise: mean over the outlines' points of the rank of the
            gradient there among all pixels of the image (0..1), times the cosine between gradient and the
            outline's normal. Chance is about 0.3.
        outlines: ``polygons`` or ``boxes``.
    """

    fits: tuple[float, float, float, float]
    outlines: str

    @property
    def best_degrees(self) -> int:
        """The turn of the labels that fits best."""
        return 90 * int(np.argmax(self.fits))

    @property
    def margin(self) -> float:
        """By how much the best turned fit beats the labels as they are; negative: it does not."""
        return max(self.fits[1:]) - self.fits[0]

    @property
    def suspicious(self) -> bool:
        return self.margin > (MARGIN if self.outlines == "polygons" else BOX_MARGIN)


def label_turn(
    image: Image.Image, annotations: Sequence[Annotation], width: float, height: float
) -> LabelTurn | None:
    """The fit of ``annotations``, given in pixels of a ``width`` x ``height`` image, to ``image``.

    Args:
        image: the same picture at any scale; it is stretched to a square, and so are the outlines.

    Returns:
        None where the outlines are too short to tell.
    """
    scale = np.array([SIDE / width, SIDE / height])
    polygons = [p for a in annotations if not a.iscrowd for p in a.segmentation]
    kind = "polygons" if polygons else "boxes"
    if not polygons:
        polygons = [_rectangle(a) for a in annotations if not a.iscrowd]
    sampled = [points for p in polygons if (points := _sample(np.reshape(p, (-1, 2)) * scale)) is not None]
    if sum(len(points) for points, _ in sampled) < _SMALLEST_OUTLINE:
        return None
    places = np.concatenate([points for points, _ in sampled])
    normals = np.concatenate([normal for _, normal in sampled])
    x_gradient, y_gradient, rank = _gradients(image)
    fits = []
    for _ in range(4):
        column, row = np.clip(np.rint(places - 0.5), 0, SIDE - 1).astype(np.intp).T
        across, down = x_gradient[row, column], y_gradient[row, column]
        along_normal = np.abs(across * normals[:, 0] + down * normals[:, 1])
        cosine = along_normal / (np.hypot(across, down) + 1e-6)
        fits.append(round(float((rank[row, column] * cosine).mean()), 4))
        places = np.stack([SIDE - places[:, 1], places[:, 0]], axis=1)
        normals = np.stack([-normals[:, 1], normals[:, 0]], axis=1)
    return LabelTurn((fits[0], fits[1], fits[2], fits[3]), kind)


def turned(annotation: Annotation, degrees: int, width: float, height: float) -> Annotation:
    """The annotation turned clockwise with its image, which keeps its size: what is at the left end of a
    quarter turn is at the same share of the height."""
    scaled = annotation.scaled(1 / width, 1 / height)
    for _ in range(degrees // 90 % 4):
        x, y, w, h = scaled.bbox_xywh
        scaled = Annotation(
            scaled.id,
            scaled.category_id,
            (1 - y - h, x, h, w),
            tuple(
                tuple(v for k in range(0, len(p) - 1, 2) for v in (1 - p[k + 1], p[k]))
                for p in scaled.segmentation
            ),
            scaled.area,
            scaled.iscrowd,
        )
    return scaled.scaled(width, height)


def _rectangle(annotation: Annotation) -> tuple[float, ...]:
    x, y, w, h = annotation.bbox_xywh
    return (x, y, x + w, y, x + w, y + h, x, y + h)


def _sample(corners: Floats) -> tuple[Floats, Floats] | None:
    """Points [P, 2] along a closed outline [K, 2] and the unit normals [P, 2] there."""
    steps = np.roll(corners, -1, axis=0) - corners
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    used = np.flatnonzero(lengths > 1e-6)
    if not len(used):
        return None
    counts = np.maximum(1, np.rint(lengths[used] / _STEP).astype(np.intp))
    edge = np.repeat(used, counts)
    number = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (number + 0.5) / np.repeat(counts, counts)
    normals = np.stack([steps[:, 1], -steps[:, 0]], axis=1)[edge] / lengths[edge, None]
    return corners[edge] + share[:, None] * steps[edge], normals


def _gradients(image: Image.Image) -> tuple[Floats, Floats, Floats]:
    """Horizontal and vertical differences [S, S], and the rank of their length among all pixels, 0..1."""
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    pixels = np.asarray(grey.filter(ImageFilter.GaussianBlur(0.7)), dtype=np.float32)
    across, down = np.zeros_like(pixels), np.zeros_like(pixels)
    across[:, 1:-1] = pixels[:, 2:] - pixels[:, :-2]
    down[1:-1] = pixels[2:] - pixels[:-2]
    # Ranks instead of lengths, so that a few hard shadows do not outshine the rest.
    levels = np.minimum(np.hypot(across, down) * 8, _LEVELS - 1).astype(np.intp)
    counts = np.bincount(levels.ravel(), minlength=_LEVELS)
    ranks = (np.cumsum(counts) - counts / 2) / levels.size
    return across.astype(np.float64), down.astype(np.float64), ranks[levels]
