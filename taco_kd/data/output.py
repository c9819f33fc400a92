"""What a prepared dataset says: its COCO files, its duplicates, its record."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from taco_kd.config import PrepareConfig
from taco_kd.data.dedup import DuplicatePair, Duplicates
from taco_kd.data.pixel_check import MAX_CELL_DIFFERENCE
from taco_kd.data.records import Annotation, Category, ImageRecord
from taco_kd.environment import package_versions

COORDINATE_DECIMALS = 2  # of polygons only; boxes are not rounded


def output_name(image_id: int) -> str:
    """File name of an output image."""
    return f"{image_id:06d}.jpg"


def coco_split(
    images: Sequence[ImageRecord], categories: Sequence[Category], *, size: int, description: str
) -> dict[str, Any]:
    """COCO dictionary of ``images`` stretched to ``size`` x ``size``, boxes scaled in floating point.

    All categories are listed, under their original ids, whether the split shows them or not.
    """
    return {
        "info": {"description": description},
        "images": [
            {
                "id": image.id,
                "file_name": output_name(image.id),
                "width": size,
                "height": size,
                "original_file_name": image.file_name,
                "original_width": image.width,
                "original_height": image.height,
            }
            for image in images
        ],
        "annotations": [
            _annotation(annotation.scaled(size / image.width, size / image.height), image.id, size)
            for image in images
            for annotation in image.annotations
        ],
        "categories": [asdict(category) for category in categories],
    }


def _annotation(scaled: Annotation, image_id: int, size: int) -> dict[str, Any]:
    x, y, w, h = scaled.bbox_xywh
    return {
        "id": scaled.id,
        "image_id": image_id,
        "category_id": scaled.category_id,
        "bbox": [x, y, min(w, size - x), min(h, size - y)],  # the last bit of a product may stick out
        "segmentation": [[round(v, COORDINATE_DECIMALS) for v in p] for p in scaled.segmentation],
        "area": scaled.area,
        "iscrowd": scaled.iscrowd,
    }


def duplicates_json(
    found: Duplicates, images: Mapping[int, ImageRecord], config: PrepareConfig
) -> dict[str, Any]:
    """Every pair that was compared with its distances; of each group the image that was kept."""

    def pair_json(pair: DuplicatePair) -> dict[str, Any]:
        return {
            "image_ids": list(pair.image_ids),
            "file_names": [images[i].file_name for i in pair.image_ids],
            "hash_distance_bits": pair.hash_distance_bits,
            "pixel_difference": pair.pixel_difference,
            "equal_bytes": pair.equal_bytes,
            "found_by": pair.found_by,
            **({} if pair.similarity is None else {"similarity": pair.similarity}),
            **({} if pair.kept_id is None else {"kept": images[pair.kept_id].file_name}),
        }

    return {
        "hash": config.hash,
        "hash_bits": config.hash_size**2,
        "hash_threshold": config.hash_threshold,
        "pixel_threshold": MAX_CELL_DIFFERENCE,
        "candidates_rejected_by_pixels": found.candidates_rejected,
        "removed": sorted(images[i].file_name for i in found.removed_ids),
        "pairs": [pair_json(pair) for pair in found.pairs],
        "rejected_pairs": [pair_json(pair) for pair in found.rejected],
    }


def split_counts(images: Iterable[ImageRecord], categories: Sequence[Category]) -> dict[str, Any]:
    """Images, boxes, and boxes of each class (zeros included) of a split."""
    records = list(images)
    boxes = Counter(a.category_id for image in records for a in image.annotations)
    return {
        "images": len(records),
        "boxes": boxes.total(),
        "boxes_per_class": {category.name: boxes[category.id] for category in categories},
    }


def software() -> dict[str, object]:
    """The part of the environment that can change pixels; asking for more would load torch."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": package_versions(),
    }
