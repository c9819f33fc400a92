"""Full COCO evaluation at the size of COCO val: ours, input checks included, against pycocotools.

    python benchmarks/evaluate_speed.py [--repeats 3] [--images 5000] [--objects 36000] [--classes 80]

Both sides start from the same Python lists in memory and end at the twelve summary numbers (ours also at AP
of each class). They take turns in one process; medians and their ratio are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import io
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from taco_kd.evaluate.accumulate import accumulate
from taco_kd.evaluate.analysis import analyse
from taco_kd.evaluate.calibration import calibration
from taco_kd.evaluate.coco_metrics import Metrics, evaluate_coco
from taco_kd.evaluate.confusion import confusion
from taco_kd.evaluate.curves import confidence_curves
from taco_kd.evaluate.error_types import costs, error_types
from taco_kd.evaluate.greedy import match_greedily
from taco_kd.evaluate.inputs import check_coco

Rows = list[dict[str, Any]]
TWELVE = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
TWELVE += ("ar_small", "ar_medium", "ar_large")


def dataset(images: int, objects: int, classes: int, seed: int = 0) -> dict[str, Any]:
    """A ground truth with COCO's skew: few classes hold most objects, sizes are log-normal."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, classes + 1)
    category = rng.choice(classes, objects, p=frequency / frequency.sum())
    size = np.exp(rng.normal(4.0, 1.0, (objects, 2))).clip(4, 500)
    corner = rng.uniform(0, 1, (objects, 2)) * (640 - size)
    boxes = np.concatenate([corner, size], axis=1).tolist()
    return {
        "images": [{"id": i + 1, "width": 640, "height": 640} for i in range(images)],
        "categories": [{"id": c + 1, "name": f"class {c + 1}"} for c in range(classes)],
        "annotations": [
            {
                "id": n + 1,
                "image_id": image,
                "category_id": int(c) + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": int(n % 80 == 0),
            }
            for n, (image, c, box) in enumerate(
                zip(rng.integers(1, images + 1, objects).tolist(), category, boxes, strict=True)
            )
        ],
    }


def detector(truth: dict[str, Any], per_image: int, seed: int = 1) -> Rows:
    """Three attempts at each object and clutter, ``per_image`` detections on every image."""
    rng = np.random.default_rng(seed)
    classes = len(truth["categories"])
    by_image: dict[int, Rows] = {image["id"]: [] for image in truth["images"]}
    for box in truth["annotations"]:
        by_image[box["image_id"]].append(box)
    rows: Rows = []
    for image, boxes in by_image.items():
        places = [(box["bbox"], box["category_id"]) for box in boxes for _ in range(3)][:per_image]
        noise = rng.normal(0, 0.12, (len(places), 4))
        other = rng.random(len(places)) < 0.15
        scores = rng.beta(2, 2, len(places))
        for (xywh, category), shift, wrong, score in zip(places, noise, other, scores, strict=True):
            x, y, w, h = xywh
            moved = [x + shift[0] * w, y + shift[1] * h, w * np.exp(shift[2]), h * np.exp(shift[3])]
            label = int(rng.integers(1, classes + 1)) if wrong else category
            rows.append(_row(image, label, moved, score))
        left = per_image - len(places)
        clutter = np.concatenate([rng.uniform(0, 500, (left, 2)), rng.uniform(8, 140, (left, 2))], axis=1)
        labels = rng.integers(1, classes + 1, left)
        for place, label, score in zip(clutter, labels, rng.beta(1, 6, left), strict=True):
            rows.append(_row(image, int(label), place, score))
    return rows


def _row(image: int, category: int, box: Any, score: float) -> dict[str, Any]:
    return {
        "image_id": image,
        "category_id": category,
        "bbox": [round(float(v), 3) for v in box],
        "score": round(float(score), 6),
    }


def theirs(truth: dict[str, Any], rows: Rows) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(rows), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in (
        ("repeats", 3),
        ("images", 5000),
        ("objects", 36000),
        ("classes", 80),
        ("detections", 100),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    truth = dataset(options.images, options.objects, options.classes)
    rows = detector(truth, options.detections)
    print(
        f"{options.images:,} images, {options.objects:,} objects, {options.classes} classes, {len(rows):,} "
        f"detections; {platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"numpy {np.__version__}"
    )
    ours_s, theirs_s = [], []
    for turn in range(options.repeats):
        copies = copy.deepcopy(rows)  # pycocotools writes into its rows
        metrics: Metrics | None = None
        for side in ("ours", "theirs") if turn % 2 == 0 else ("theirs", "ours"):
            gc.collect()
            if side == "ours":
                seconds, metrics = timed(lambda: evaluate_coco(truth, rows))
                ours_s.append(seconds)
            else:
                seconds, stats = timed(lambda copies=copies: theirs(truth, copies))
                theirs_s.append(seconds)
        assert metrics is not None
        twelve = [getattr(metrics, name) for name in TWELVE]
        assert twelve == [None if value == -1 else value for value in stats], "the numbers must be equal"
    print(f"all twelve numbers equal to the last bit; AP {metrics.ap:.12f}")
    ours, other = statistics.median(ours_s), statistics.median(theirs_s)
    print(f"ours        {ours:8.2f} s  (runs: {', '.join(f'{s:.2f}' for s in ours_s)})")
    print(f"pycocotools {other:8.2f} s  (runs: {', '.join(f'{s:.2f}' for s in theirs_s)})")
    print(f"ratio of medians {other / ours:.1f}")
    breakdown(truth, rows, options.repeats)


def breakdown(truth: dict[str, Any], rows: Rows, repeats: int) -> None:
    """Where our time goes, and how long the other analyses take."""
    parts: dict[str, list[float]] = {}

    def part(name: str, function: Callable[[], Any]) -> Any:
        seconds, result = timed(function)
        parts.setdefault(name, []).append(seconds)
        return result

    for _ in range(repeats):
        coco = part("input checks", lambda: check_coco(truth, rows))
        matched = part("matching", lambda coco=coco: match_greedily(coco))
        part("accumulation", lambda matched=matched: accumulate(matched))
        errors = part("kinds of errors (TIDE)", lambda c=coco, m=matched: error_types(c, m))
        part("costs of errors (TIDE)", lambda m=matched, e=errors: costs(m, e))
        part("calibration", lambda m=matched: calibration(m))
        part("confusion matrix at 0.5", lambda c=coco, m=matched: confusion(c, m, confidence=0.5))
        part(
            "curves of all classes",
            lambda m=matched: [confidence_curves(m, k) for k in range(len(m.boxes[0]))],
        )
        part("everything for the page", lambda: analyse(truth, rows))
    for name, seconds in parts.items():
        print(f"  {name:26}{statistics.median(seconds):8.2f} s")


if __name__ == "__main__":
    main()
