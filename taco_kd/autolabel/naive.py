"""The naive auto-labeller of the paper: every box a generic detector finds gets the folder's class.

RT-CO-DETR, section V.C and Fig. 5. Kept exactly as naive as it was, so that what is wrong with it can be
measured; what the detector itself called the box is kept beside the label, which the paper's did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torchvision.ops import clip_boxes_to_image

from taco_kd.autolabel.folders import Photo
from taco_kd.types import Detections


@dataclass(frozen=True)
class NaiveBox:
    """One box and both of its names.

    Attributes:
        box_xyxy: corners in pixels of the upright photo.
        label: the class the naive pipeline wrote: the folder's.
        detector_class: what the detector saw.
        score: the detector's confidence, 0..1.
    """

    box_xyxy: tuple[float, float, float, float]
    label: str
    detector_class: str
    score: float


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo with its naive labels; ``width`` and ``height`` in pixels, upright."""

    photo: Photo
    width: int
    height: int
    boxes: tuple[NaiveBox, ...]


def label_photo(
    photo: Photo, size: tuple[int, int], found: Detections, class_names: Sequence[str]
) -> LabelledPhoto:
    """Give every detection the class of the photo's folder. Boxes are clipped to the photo (width, height).

    A box with nothing left inside is dropped: COCO has no way to write it.
    """
    width, height = size
    boxes = []
    clipped = clip_boxes_to_image(found.boxes_xyxy.float(), (height, width)).tolist()
    for (x1, y1, x2, y2), score, class_id in zip(
        clipped, found.scores.tolist(), found.class_ids.tolist(), strict=True
    ):
        if x2 > x1 and y2 > y1:
            boxes.append(NaiveBox((x1, y1, x2, y2), photo.label, class_names[class_id], score))
    return LabelledPhoto(photo, width, height, tuple(boxes))


def naive_description(detector: str) -> str:
    """What the file of naive labels says of itself."""
    return (
        f"Naive auto-labels: boxes found by {detector}, each given its folder's class. They show semantic "
        "mismatch (see audit.json); do not train on them."
    )


def to_coco(
    photos: Iterable[LabelledPhoto],
    classes: Sequence[str],
    *,
    description: str,
    extras: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The labels as a COCO dictionary; ids start at 1, boxes are [x, y, width, height] in pixels.

    ``score`` and ``detector_class`` are extras: readers of COCO ignore them.

    Args:
        extras: more of them, for each box in order.
    """
    category_ids = {name: i for i, name in enumerate(classes, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, labelled in enumerate(photos, start=1):
        images.append(
            {
                "id": image_id,
                "file_name": labelled.photo.file_name,
                "width": labelled.width,
                "height": labelled.height,
            }
        )
        for box in labelled.boxes:
            x1, y1, x2, y2 = box.box_xyxy
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_ids[box.label],
                    "bbox": [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)],
                    "area": round((x2 - x1) * (y2 - y1), 2),
                    "iscrowd": 0,
                    "score": round(box.score, 4),
                    "detector_class": box.detector_class,
                    **(extras[len(annotations)] if extras is not None else {}),
                }
            )
    return {
        "info": {"description": description},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for name, i in category_ids.items()],
    }
