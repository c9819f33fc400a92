"""What a prepared dataset says: its COCO files, its duplicates, its record."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from taco_kd.config import PrepareConfig
from taco_kd.data.dedup import DuplicatePair, Duplicates
from taco_kd.data.geometry import Placement
from taco_kd.data.pixel_check import MAX_CELL_DIFFERENCE
from taco_kd.data.records import Annotation, Finding, ImageRecord, RawDataset
from taco_kd.environment import package_versions

COORDINATE_DECIMALS = 2  # of polygons only; boxes are not rounded


def output_name(image_id: int) -> str:
    """File name of an output image."""
    return f"{image_id:06d}.jpg"


def coco_split(
    images: Sequence[ImageRecord], raw: RawDataset, config: PrepareConfig, group_of: Mapping[int, int]
) -> dict[str, Any]:
    """COCO dictionary of ``images`` at the size of ``config``, boxes and polygons scaled in floating point.

    All categories are listed, under their original ids, whether the split shows them or not. Images say where
    they come from, in a letterbox how large the photo is in it, and their group where the split has groups.
    """
    info = {"info": {"description": raw.description}}
    if raw.licences:
        info["licenses"] = [dict(licence) for licence in raw.licences]  # type: ignore[assignment]
    return {
        **info,
        "images": [_image(image, config, group_of) for image in images],
        "annotations": [
            _annotation(annotation, image.id) for image in images for annotation in placed(image, config)
        ],
        "categories": [asdict(category) for category in raw.categories],
    }


def placed(image: ImageRecord, config: PrepareConfig) -> list[Annotation]:
    """The objects of an image where they are in the prepared one; those without any area are left out, which
    happens to narrow boxes that are cut to whole pixels."""
    placement = Placement.of(image.width, image.height, size=config.size, mode=config.mode)
    found = [placement.place(a, truncate=config.truncate_boxes) for a in image.annotations]
    return [a for a in found if a.bbox_xywh[2] > 0 and a.bbox_xywh[3] > 0]


def vanished(image: ImageRecord, config: PrepareConfig) -> Iterator[Finding]:
    """A finding for each box that ``placed`` left out."""
    there = {a.id for a in placed(image, config)}
    for a in image.annotations:
        if a.id not in there:
            line = f"annotation id {a.id} of {image.file_name} has no area in whole pixels, left out"
            yield Finding("vanished_box", line)


def _image(image: ImageRecord, config: PrepareConfig, group_of: Mapping[int, int]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": image.id,
        "file_name": output_name(image.id),
        "width": config.size,
        "height": config.size,
        "original_file_name": image.file_name,
        "original_width": image.width,
        "original_height": image.height,
    }
    if config.mode == "letterbox":
        placement = Placement.of(image.width, image.height, size=config.size, mode=config.mode)
        entry["content_width"], entry["content_height"] = placement.content_width, placement.content_height
    if image.id in group_of:
        entry["group"] = group_of[image.id]
    return {**entry, **image.facts}


def _annotation(annotation: Annotation, image_id: int) -> dict[str, Any]:
    return {
        "id": annotation.id,
        "image_id": image_id,
        "category_id": annotation.category_id,
        "bbox": list(annotation.bbox_xywh),
        "segmentation": [[round(v, COORDINATE_DECIMALS) for v in p] for p in annotation.segmentation],
        "area": annotation.area,
        "iscrowd": annotation.iscrowd,
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


def split_counts(coco: Mapping[str, Any]) -> dict[str, Any]:
    """Images, boxes, and boxes of each class (zeros included) of a split's COCO dictionary."""
    boxes = Counter(annotation["category_id"] for annotation in coco["annotations"])
    return {
        "images": len(coco["images"]),
        "boxes": boxes.total(),
        "boxes_per_class": {category["name"]: boxes[category["id"]] for category in coco["categories"]},
    }


def software() -> dict[str, object]:
    """The part of the environment that can change pixels; asking for more would load torch."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": package_versions(),
    }
