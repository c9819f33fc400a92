"""Annotated images as the preparation sees them, independent of the file format they were read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Box = tuple[float, float, float, float]
Polygon = tuple[float, ...]
Part = Literal["train", "val", "test"]
"""A part of a dataset as its publisher cut it; prepared datasets have train and val only."""


@dataclass(frozen=True)
class Finding:
    """Something unusual that was tolerated: ``kind`` to count by, ``line`` to read, and where it is."""

    kind: str
    line: str
    image: str | None = None
    annotation_id: int | None = None


@dataclass(frozen=True)
class Category:
    id: int
    name: str
    supercategory: str


@dataclass(frozen=True)
class Annotation:
    """One object.

    Attributes:
        bbox_xywh: left, top, width, height in pixels of the upright image.
        segmentation: polygons, each x0, y0, x1, y1, ... in the same pixels; may be empty.
        area: area in square pixels of the mask where the source has one, else of the box.
        iscrowd: 1 where the box holds a group that was not separated.
    """

    id: int
    category_id: int
    bbox_xywh: Box
    segmentation: tuple[Polygon, ...]
    area: float
    iscrowd: int

    def clipped(self, width: float, height: float) -> Annotation | None:
        """The part inside a ``width`` x ``height`` image; None when nothing is left."""
        x, y, w, h = self.bbox_xywh
        left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
        if right <= left or bottom <= top:
            return None
        # Subtracting only where a side was cut keeps untouched numbers free of rounding.
        box = (left, top, w if (left, right) == (x, x + w) else right - left,
               h if (top, bottom) == (y, y + h) else bottom - top)  # fmt: skip
        polygons = tuple(
            tuple(min(max(v, 0.0), height if k % 2 else width) for k, v in enumerate(polygon))
            for polygon in self.segmentation
        )
        return replace(self, bbox_xywh=box, segmentation=polygons, area=min(self.area, box[2] * box[3]))

    def scaled(self, x_scale: float, y_scale: float) -> Annotation:
        """The same object in an image stretched by ``x_scale`` and ``y_scale``."""
        x, y, w, h = self.bbox_xywh
        return replace(
            self,
            bbox_xywh=(x * x_scale, y * y_scale, w * x_scale, h * y_scale),
            segmentation=tuple(
                tuple(v * (y_scale if k % 2 else x_scale) for k, v in enumerate(polygon))
                for polygon in self.segmentation
            ),
            area=self.area * x_scale * y_scale,
        )


@dataclass(frozen=True)
class ImageRecord:
    """One image: ``width`` x ``height`` are the pixels its annotations live in, upright.

    Attributes:
        part: where the source's own split has it; None where it has no split.
        facts: what the source says about the photo that is to be passed on: licence, addresses, time.
    """

    id: int
    file_name: str
    path: Path
    width: int
    height: int
    annotations: tuple[Annotation, ...]
    part: Part | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class MergedClass:
    """A class of the source, the class that its boxes went to (None: they were dropped), and how many."""

    source: str
    target: str | None
    boxes: int


@dataclass(frozen=True)
class RawDataset:
    """What a source delivers: images sorted by id, categories in the order of the file.

    Attributes:
        annotations_file: the file that describes the dataset.
        more_files: others that were read, in a fixed order: label files, lists, a second COCO file.
        merged: how a class map merged classes, a row for each class of the source; empty without one.
        licences: COCO's table of licences: a dictionary with ``id``, ``name`` and ``url`` for each.
    """

    images: tuple[ImageRecord, ...]
    categories: tuple[Category, ...]
    annotations_file: Path
    description: str = ""
    findings: tuple[Finding, ...] = ()
    more_files: tuple[Path, ...] = ()
    licences: tuple[Mapping[str, object], ...] = ()
    merged: tuple[MergedClass, ...] = ()
