"""The same validation images through every model: which images, which boxes, right or wrong.

Whether a detection is right does not depend on the confidence threshold: COCO matches greedily from the
highest score down, so those above a threshold are matched alike whatever lies below it. Every box is hence
matched once, here, and the page's slider only shows and hides.
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from taco_kd.errors import DataError
from taco_kd.report.collect import Arm
from taco_kd.runs import DataDir

LOWEST_SCORE = 0.05
"""boxes below this confidence are left out of the page"""
MATCH_IOU = 0.5
BYTES_FOR_IMAGES = 1_600_000
"""budget in bytes of base64 text for all pictures of a page"""
_SIDES_PX = (640, 512, 448, 384, 320, 256, 192)


@dataclass(frozen=True)
class Box:
    """A box as it is drawn.

    Attributes:
        xywh: left, top, width, height in pixels of the image.
        score: confidence of a detection; of a true box the confidence at which the model finds it (0: never).
        right: a detection that matches a true box of its class.
    """

    xywh: tuple[float, float, float, float]
    label: str
    score: float = 0.0
    right: bool = False


@dataclass(frozen=True)
class Panel:
    """What one model saw: ``detections``, best first, and ``truth`` with the score that finds each box."""

    arm: Arm
    detections: list[Box]
    truth: list[Box]

    def found(self, score: float) -> int:
        """True boxes that the detections of at least that confidence match."""
        return sum(box.score >= score for box in self.detections if box.right)

    def false(self, score: float) -> int:
        """Detections of at least that confidence that match nothing."""
        return sum(box.score >= score for box in self.detections if not box.right)


@dataclass(frozen=True)
class Picture:
    """One validation image, embedded once, with its true boxes and one panel for each model."""

    image_id: int
    file_name: str
    width: int
    height: int
    uri: str
    truth: list[Box]
    panels: list[Panel] = field(default_factory=list)


def pictures(data: DataDir, arms: Sequence[Arm], *, max_images: int) -> list[Picture]:
    """Up to ``max_images`` validation images with the boxes of every arm that has predictions.

    Raises:
        DataError: an image file is missing or cannot be decoded.
    """
    coco = data.coco("val")
    names = {int(c["id"]): str(c["name"]) for c in coco["categories"]}
    truth: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in coco["annotations"]:
        if not annotation.get("iscrowd"):
            truth[int(annotation["image_id"])].append(annotation)
    seen = [arm for arm in arms if arm.predictions is not None]
    shown = []
    chosen = spread(coco["images"], {i: len(boxes) for i, boxes in truth.items()}, max_images)
    for image in chosen:
        own = truth[int(image["id"])]
        file = data.image_file("val", str(image["file_name"]))
        shown.append(
            Picture(
                image_id=int(image["id"]),
                file_name=str(image["file_name"]),
                width=int(image["width"]),
                height=int(image["height"]),
                uri=jpeg_uri(file, BYTES_FOR_IMAGES // len(chosen)),
                truth=[Box(_xywh(a), names.get(int(a["category_id"]), "?")) for a in own],
                panels=[panel(arm, int(image["id"]), own, names) for arm in seen],
            )
        )
    return shown


def spread(images: Sequence[dict[str, Any]], boxes: dict[int, int], count: int) -> list[dict[str, Any]]:
    """``count`` images at even steps through all of them, ordered by number of true boxes, then by id.

    The choice depends on the ground truth alone: no look at what any model makes of the image.
    """
    ordered = sorted(images, key=lambda image: (boxes.get(int(image["id"]), 0), int(image["id"])))
    if count >= len(ordered):
        return ordered
    if count <= 1:
        return ordered[len(ordered) // 2 :][:count]
    last = len(ordered) - 1
    return [ordered[round(i * last / (count - 1))] for i in range(count)]


def iou_xywh(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (left, top, width, height)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


def panel(arm: Arm, image_id: int, own: Sequence[dict[str, Any]], names: dict[int, str]) -> Panel:
    """What ``arm`` saw on an image whose annotations are ``own``.

    Matching is greedy as in COCO: best score first, each true box once, same class, IoU of at least 0.5.
    """
    results = (arm.predictions or {}).get(image_id, [])
    results = sorted((r for r in results if r["score"] >= LOWEST_SCORE), key=lambda r: -r["score"])
    found_at = [0.0] * len(own)
    detections = []
    for result in results:
        overlaps = [
            (iou_xywh(result["bbox"], a["bbox"]), i)
            for i, a in enumerate(own)
            if not found_at[i] and a["category_id"] == result["category_id"]
        ]
        iou, best = max(overlaps, default=(0.0, -1))
        if iou >= MATCH_IOU:
            found_at[best] = result["score"]
        label = names.get(int(result["category_id"]), "?")
        detections.append(Box(_xywh(result), label, float(result["score"]), iou >= MATCH_IOU))
    true_boxes = [
        Box(_xywh(a), names.get(int(a["category_id"]), "?"), at) for a, at in zip(own, found_at, strict=True)
    ]
    return Panel(arm, detections, true_boxes)


def _xywh(item: dict[str, Any]) -> tuple[float, float, float, float]:
    x, y, w, h = (round(float(v), 1) for v in item["bbox"])
    return x, y, w, h


def jpeg_uri(path: Path, max_chars: int) -> str:
    """The image as a data URI, in the largest size that fits ``max_chars`` of base64.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; the dataset folder is not whole") from None
    except (OSError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be decoded ({error})") from None
    return encoded_uri(image, max_chars, quality=82, sides_px=_SIDES_PX)


def encoded_uri(image: Image.Image, max_chars: int, *, quality: int, sides_px: Sequence[int]) -> str:
    """``image`` as a JPEG data URI, in the largest of ``sides_px`` that fits ``max_chars`` of base64."""
    encoded = b""
    for side_px in sides_px:
        image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, optimize=True)
        encoded = base64.b64encode(stream.getvalue())
        if len(encoded) <= max_chars:
            break
    return "data:image/jpeg;base64," + encoded.decode()
