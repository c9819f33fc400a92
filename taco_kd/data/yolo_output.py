"""The same dataset for YOLO tools: a label file for each image, and ``data.yaml``.

Format: https://docs.ultralytics.com/datasets/detect/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from taco_kd.files import write_text
from taco_kd.runs import DataDir, Split


def write_labels(data: DataDir, split: Split, coco: Mapping[str, Any]) -> None:
    """``labels/{split}/*.txt`` of a COCO dictionary: a class (its place in the list of categories) and a box
    as fractions of the image, with six decimals. Crowds have no place in the format and are left out; an
    image without objects has an empty file."""
    data.labels_dir(split).mkdir(parents=True)
    index = {category["id"]: i for i, category in enumerate(coco["categories"])}
    lines: dict[int, list[str]] = {image["id"]: [] for image in coco["images"]}
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    for annotation in coco["annotations"]:
        if not annotation["iscrowd"]:
            image_id = annotation["image_id"]
            line = label_line(index[annotation["category_id"]], annotation["bbox"], *sizes[image_id])
            lines[image_id].append(line)
    for image in coco["images"]:
        text = "".join(f"{line}\n" for line in lines[image["id"]])
        path = data.labels_dir(split) / Path(image["file_name"]).with_suffix(".txt").name
        path.write_text(text, encoding="utf-8")


def label_line(class_index: int, bbox_xywh: Sequence[float], width: int, height: int) -> str:
    """One object: class, centre, width and height.

    >>> label_line(54, [442, 231, 38, 37], 640, 640)
    '54 0.720313 0.389844 0.059375 0.057813'
    """
    x, y, w, h = bbox_xywh
    fractions = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
    return " ".join([str(class_index), *(f"{fraction:.6f}" for fraction in fractions)])


def write_yaml(data: DataDir, class_names: Sequence[str]) -> None:
    """``data.yaml``; it names no path, so that the folder can be moved: tools take that of the file."""
    document = {"train": "images/train", "val": "images/val", "names": dict(enumerate(class_names))}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
    write_text(
        data.yaml_file,
        "# YOLO dataset, made by taco-kd prepare; the same boxes are in annotations/*.json.\n" + text,
    )
