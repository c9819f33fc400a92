"""TACO's `annotations.json`: COCO with scene categories, built from drawn scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from taco_kd.data.synthetic.classes import SCENE_CLASSES
from taco_kd.data.synthetic.outline import Polygon
from taco_kd.data.synthetic.scene import SceneObject

IMAGES_PER_BATCH = 100

_SCENE_CATEGORIES = (
    "Clean", "Indoor, Man-made", "Pavement", "Sand, Dirt, Pebbles", "Trash", "Vegetation", "Water",
)  # fmt: skip
_BACKGROUNDS = {"sand": [3], "grass": [5], "asphalt": [2], "water": [6], "shore": [3, 6], "paving": [2]}
_CATEGORY_IDS = {entry.name: number for number, entry in enumerate(SCENE_CLASSES)}


@dataclass(frozen=True)
class ImageRecord:
    """What the JSON says of one written image: its upright size, its ground and its objects."""

    width: int
    height: int
    ground: str
    objects: Sequence[SceneObject]


def file_name(image_id: int) -> str:
    """Return the path of an image relative to the dataset's root, with forward slashes."""
    return f"batch_{image_id // IMAGES_PER_BATCH + 1}/{image_id % IMAGES_PER_BATCH:06d}.jpg"


def scaled(item: SceneObject, x: float, y: float) -> SceneObject:
    """Return the object with its coordinates multiplied by `x` and `y`."""
    polygons: list[Polygon] = [[(px * x, py * y) for px, py in part] for part in item.polygons]
    left, top, width, height = item.bbox
    box = (left * x, top * y, width * x, height * y)
    return SceneObject(item.class_name, polygons, box, item.area_px * x * y)


def document(records: Sequence[ImageRecord], *, count: int, seed: int) -> dict[str, Any]:
    """Return the whole document; the place of a record is its image id."""
    images = [_image(number, record) for number, record in enumerate(records)]
    annotations: list[dict[str, Any]] = []
    for number, record in enumerate(records):
        for item in record.objects:
            annotations.append(_annotation(len(annotations) + 1, number, item))
    return {
        "info": {
            "year": None,
            "version": "1",
            "description": f"Synthetic litter scenes made by taco-kd (count={count}, seed={seed})",
            "contributor": "taco-kd",
            "url": None,
            "date_created": None,  # the same scenes give the same file, whenever they are drawn
        },
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": number, "name": entry.name, "supercategory": entry.supercategory}
            for number, entry in enumerate(SCENE_CLASSES)
        ],
        "scene_annotations": [
            {"image_id": number, "background_ids": _BACKGROUNDS[record.ground]}
            for number, record in enumerate(records)
        ],
        "scene_categories": [{"id": i, "name": name} for i, name in enumerate(_SCENE_CATEGORIES)],
    }


def _image(image_id: int, record: ImageRecord) -> dict[str, Any]:
    return {
        "id": image_id,
        "width": record.width,
        "height": record.height,
        "file_name": file_name(image_id),
        "license": None,
        "flickr_url": None,
        "coco_url": None,
        "date_captured": None,
        "flickr_640_url": None,
    }


def _annotation(annotation_id: int, image_id: int, item: SceneObject) -> dict[str, Any]:
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": _CATEGORY_IDS[item.class_name],
        "segmentation": [[round(c, 2) for point in part for c in point] for part in item.polygons],
        "area": round(item.area_px, 2),
        "bbox": [round(c, 2) for c in item.bbox],
        "iscrowd": 0,
    }
