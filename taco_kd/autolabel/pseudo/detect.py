"""A detector over prepared images, in the dataset's classes, one box for an object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torchvision.ops import nms

from taco_kd.errors import DataError
from taco_kd.models.ultralytics_file import BoxDetector

LEAST_SCORE = 0.01
"""boxes below are never labels, and are not asked for"""


def detect(
    detector: BoxDetector, path: Path, categories: Sequence[int | None], *, nms_iou: float
) -> list[dict[str, Any]]:
    """COCO results of one image, best first, without ``image_id``.

    The detector decodes as it always does (NMS within a class where it needs that); here, of boxes of *any*
    class that overlap by more than ``nms_iou`` only the best stays, since one object has one label.

    Args:
        categories: for each class of the detector the dataset's category, None to leave its boxes out.
    """
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise DataError(f"{path}: cannot be decoded ({error})") from None
    found = detector.detect(image).above(LEAST_SCORE)
    boxes = found.boxes_xyxy.float()
    boxes[:, 0::2] = boxes[:, 0::2].clamp(0, image.width)
    boxes[:, 1::2] = boxes[:, 1::2].clamp(0, image.height)
    rows = []
    for i in nms(boxes, found.scores.float(), nms_iou).tolist():
        x1, y1, x2, y2 = (round(v, 3) for v in boxes[i].tolist())
        category = categories[int(found.class_ids[i])]
        if category is not None and x2 > x1 and y2 > y1:
            rows.append(
                {
                    "category_id": category,
                    "bbox": [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)],
                    "score": round(float(found.scores[i]), 6),
                }
            )
    return rows
