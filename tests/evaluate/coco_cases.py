"""Data for the tests of the metrics: random datasets, simulated detectors, pycocotools as oracle."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIDE = 200


@st.composite
def coco_cases(
    draw: st.DrawFn, *, distinct_scores: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A ground truth and predictions: crowds, empty images and classes, odd ids, annotation ids from 0.

    Predictions are mostly shifted boxes of the ground truth. With ``distinct_scores`` no two predictions in
    one image have the same score (those in different images may).
    """
    images = draw(st.lists(st.integers(0, 40), min_size=1, max_size=5, unique=True))
    category_ids = draw(st.lists(st.sampled_from([0, 1, 2, 7, 90]), min_size=1, max_size=4, unique=True))
    annotations: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for image in images:
        boxes = draw(st.lists(_boxes(), max_size=4))
        for box in boxes:
            annotation = {
                "id": len(annotations),
                "image_id": image,
                "category_id": draw(st.sampled_from(category_ids)),
                "bbox": box,
                "area": float(box[2] * box[3] * draw(st.sampled_from([0.5, 1.0]))),
                "iscrowd": int(draw(st.integers(0, 5)) == 0),
            }
            annotations.append(annotation)
        shifted = st.sampled_from(boxes).flatmap(_shifted) if boxes else _boxes()
        found = draw(st.lists(st.one_of(shifted, shifted, _boxes()), max_size=8))
        levels = draw(st.permutations(range(len(found))))
        for box, level in zip(found, levels, strict=True):
            score = (1 + level) / 10 if distinct_scores else draw(st.sampled_from([0.1, 0.5, 0.5, 0.9]))
            predictions.append(
                {
                    "image_id": image,
                    "category_id": draw(st.sampled_from(category_ids)),
                    "bbox": box,
                    "score": score,
                }
            )
    return dataset(images, category_ids, annotations), predictions


def _boxes() -> st.SearchStrategy[list[float]]:
    position, length = st.integers(0, 150).map(float), st.sampled_from([5.0, 20.0, 33.0, 50.0, 120.0])
    return st.tuples(position, position, length, length).map(list)


def _shifted(box: list[float]) -> st.SearchStrategy[list[float]]:
    def move(by: tuple[float, float, float]) -> list[float]:
        x, y, width, height = box
        return [max(0.0, x + by[0] * width), max(0.0, y + by[1] * height), width * by[2], height]

    shift = st.sampled_from([0.0, 0.0, 0.02, -0.1, 0.25])
    return st.tuples(shift, shift, st.sampled_from([1.0, 1.0, 0.9, 1.3])).map(move)


def dataset(images: Any, category_ids: Any, annotations: Any) -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": SIDE, "height": SIDE} for i in images],
        "categories": [{"id": c, "name": f"class {c}"} for c in category_ids],
        "annotations": annotations,
    }


def oracle(
    ground_truth: dict[str, Any],
    predictions: list[dict[str, Any]],
    *,
    area_factor: dict[int, float] | None = None,
) -> tuple[list[Any], dict[int, Any]]:
    """pycocotools' twelve summary numbers, and AP by category id; None for its -1.

    ``area_factor``: what the areas of an image are multiplied with.
    """
    evaluator = _pycocotools(ground_truth, predictions, area_factor)
    precision = evaluator.eval["precision"][:, :, :, 0, -1]
    per_class = [
        np.mean(column[column > -1]) if (column > -1).any() else -1 for column in np.moveaxis(precision, 2, 0)
    ]

    def defined(value: float) -> float | None:
        return None if value == -1 else float(value)

    by_category = dict(zip(evaluator.params.catIds, map(defined, per_class), strict=True))
    return [defined(value) for value in evaluator.stats], by_category


def oracle_areas(ground_truth: dict[str, Any], predictions: list[dict[str, Any]]) -> dict[str, list[float]]:
    """pycocotools' AP of each class by ascending id, for each range of areas; NaN for its -1."""
    evaluator = _pycocotools(ground_truth, predictions, None)
    per_class = evaluator.eval["precision"][:, :, :, :, -1].mean(axis=(0, 1))
    per_class[per_class < 0] = np.nan
    return {area: per_class[:, index].tolist() for index, area in enumerate(evaluator.params.areaRngLbl)}


def _pycocotools(
    ground_truth: dict[str, Any], predictions: list[dict[str, Any]], area_factor: dict[int, float] | None
) -> Any:
    truth, found = copy.deepcopy(ground_truth), copy.deepcopy(predictions)
    for annotation in truth["annotations"]:
        annotation["id"] += 1  # 0 means "not matched" to pycocotools
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        if found:
            results = coco.loadRes(found)
        else:  # loadRes cannot read an empty list
            results = COCO()
            results.dataset = truth | {"annotations": []}
            results.createIndex()
        for image, factor in (area_factor or {}).items():
            for box in [*coco.imgToAnns[image], *results.imgToAnns[image]]:
                box["area"] = factor * box.get("area", box["bbox"][2] * box["bbox"][3])
        evaluator = COCOeval(coco, results, "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def scenes(images: int, classes: int = 3, *, seed: int = 0) -> dict[str, Any]:
    """A ground truth with one to three boxes on each image."""
    rng = np.random.default_rng(seed)
    annotations = []
    for image in range(images):
        for _ in range(rng.integers(1, 4)):
            x, y = rng.uniform(0, SIDE - 80, 2)
            width, height = rng.uniform(20, 80, 2)
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": image,
                    "category_id": int(rng.integers(classes)),
                    "bbox": [float(x), float(y), float(width), float(height)],
                    "iscrowd": 0,
                }
            )
    return dataset(range(images), range(classes), annotations)


def detector(
    ground_truth: dict[str, Any], *, jitter: float, recall: float = 0.8, clutter: int = 4, seed: int = 0
) -> list[dict[str, Any]]:
    """Predictions of a simulated detector.

    Args:
        jitter: standard deviation of box position and size, as a share of the box.
        recall: share of the boxes it finds.
        clutter: false detections on each image, with lower scores on average.
    """
    rng = np.random.default_rng(seed)
    categories = [category["id"] for category in ground_truth["categories"]]
    side = ground_truth["images"][0]["width"]
    found = []
    for box in ground_truth["annotations"]:
        if rng.random() < recall:
            x, y, width, height = box["bbox"]
            dx, dy, dw, dh = rng.normal(0, jitter, 4)
            moved = [x + dx * width, y + dy * height, width * np.exp(dw), height * np.exp(dh)]
            found.append((box["image_id"], box["category_id"], moved, rng.beta(5, 2)))
    for image in ground_truth["images"]:
        for _ in range(clutter):
            place = [*rng.uniform(0, side - 50, 2), *rng.uniform(5, 50, 2)]
            found.append((image["id"], int(rng.choice(categories)), place, rng.beta(2, 4)))
    return [
        {"image_id": i, "category_id": c, "bbox": [float(v) for v in box], "score": float(score)}
        for i, c, box, score in found
    ]
