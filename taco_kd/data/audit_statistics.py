"""How many boxes of each class, and how large they are, before and after images become squares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from taco_kd.data.coco_schema import CocoAnnotation, CocoImage

SMALL_PX, LARGE_PX = 32, 96
"""COCO: small is an area under 32^2, medium under 96^2, large the rest."""
SIDE_EDGES_PX = (0, 4, 8, 16, 32, 64, 96, 128, 256, 512, 1024)
"""Edges of the histogram of box sizes, the square root of the area; the last bin is open."""


@dataclass(frozen=True)
class Sizes:
    """Boxes by size; ``histogram``: one count for each of ``SIDE_EDGES_PX``, from that edge to the next."""

    small: int
    medium: int
    large: int
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class Statistics:
    """Counts of one annotated set of images.

    Attributes:
        per_class: boxes of each class, most first, zeros included.
        native_by_box, native_by_mask: sizes in pixels of the images as they are, by the area of the box and
            by ``area`` (the mask's where there is one), as COCO counts it.
        resized_by_box: sizes by box once each image is stretched to a square.
        size_px: side of that square.
    """

    images: int
    boxes: int
    boxes_per_image: tuple[tuple[int, int], ...]
    per_class: tuple[tuple[str, int], ...]
    native_by_box: Sizes
    native_by_mask: Sizes
    resized_by_box: Sizes
    size_px: int

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "side_edges_px": SIDE_EDGES_PX}


def statistics(
    images: Mapping[int, CocoImage],
    annotations: Sequence[CocoAnnotation],
    class_names: Mapping[int, str],
    *,
    size_px: int,
    native_factors: Mapping[int, float] | None = None,
) -> Statistics:
    """Counts over ``annotations``, crowds left out.

    Args:
        native_factors: by image id, how many pixels of the original one pixel of the image stands for.
    """
    boxes = [a for a in annotations if not a.iscrowd]
    classes = Counter(class_names[a.category_id] for a in boxes)
    of_image = Counter(a.image_id for a in boxes)
    how_many = Counter(of_image[i] for i in images)
    here = np.array([a.bbox[2] * a.bbox[3] for a in boxes])
    factors = np.array([(native_factors or {}).get(a.image_id, 1.0) for a in boxes])
    squares = np.array([size_px**2 / (images[a.image_id].width * images[a.image_id].height) for a in boxes])
    masks = np.array([a.bbox[2] * a.bbox[3] if a.area is None else a.area for a in boxes])
    return Statistics(
        images=len(images),
        boxes=len(boxes),
        boxes_per_image=tuple(sorted(how_many.items())),
        per_class=tuple(
            sorted(((n, classes[n]) for n in set(class_names.values())), key=lambda c: (-c[1], c[0]))
        ),
        native_by_box=sizes(here * factors),
        native_by_mask=sizes(masks * factors),
        resized_by_box=sizes(here * squares),
        size_px=size_px,
    )


def small_after_resize(
    images: Mapping[int, CocoImage], annotations: Sequence[CocoAnnotation], *, size_px: int
) -> list[CocoAnnotation]:
    """Annotations whose box is under a pixel wide or high in the square."""
    found = []
    for a in annotations:
        image = images[a.image_id]
        if min(a.bbox[2] * size_px / image.width, a.bbox[3] * size_px / image.height) < 1:
            found.append(a)
    return found


def sizes(areas: np.ndarray[Any, np.dtype[np.float64]]) -> Sizes:
    """Sizes of boxes with these areas in square pixels."""
    small = int((areas < SMALL_PX**2).sum())
    large = int((areas >= LARGE_PX**2).sum())
    edges = [float(edge) ** 2 for edge in SIDE_EDGES_PX] + [np.inf]
    counts = np.histogram(areas, bins=edges)[0] if len(areas) else np.zeros(len(SIDE_EDGES_PX), dtype=int)
    return Sizes(small, len(areas) - small - large, large, tuple(int(c) for c in counts))
