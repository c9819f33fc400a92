"""Records as the other stages write them: a small dataset, a baseline, a distilled run and their comparison.

The figures are made up (deterministically) and plausible; they test the page, not the product.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from taco_kd.files import write_json, write_text
from taco_kd.runs import DataDir, RunDir

CLASSES = ("Bottle", "Can", "Cup", "Carton", "Plastic bag", "Cigarette", "Bottle cap", "Straw")
SIZE_PX = 320
HASH = "0123abcd" * 8
Json = dict[str, Any]


def write_data(path: Path, *, images: int = 14, classes: tuple[str, ...] = CLASSES) -> DataDir:
    """Coloured shapes on plain ground; image k holds k % 7 of them."""
    data, rng = DataDir(path), random.Random(7)
    coco: Json = {"images": [], "annotations": [], "categories": []}
    coco["categories"] = [{"id": i, "name": name} for i, name in enumerate(classes)]
    data.images_dir("val").mkdir(parents=True)
    for image_id in range(images):
        name = f"{image_id:06d}.jpg"
        picture = Image.new("RGB", (SIZE_PX, SIZE_PX), (120 + image_id, 140, 110))
        draw = ImageDraw.Draw(picture)
        for _ in range(image_id % 7):
            w, h = rng.randint(24, 90), rng.randint(24, 90)
            x, y = rng.randint(0, SIZE_PX - w), rng.randint(0, SIZE_PX - h)
            category = rng.randrange(len(classes))
            colour = tuple((37 * (category + 1) * k) % 256 for k in (1, 3, 5))
            draw.ellipse((x, y, x + w, y + h), fill=colour)
            coco["annotations"].append(
                {
                    "id": len(coco["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
        picture.save(data.image_file("val", name), quality=85)
        coco["images"].append({"id": image_id, "file_name": name, "width": SIZE_PX, "height": SIZE_PX})
    write_json(data.annotations_file("val"), coco)
    write_json(data.record_file, {"class_names": list(classes), "content_hash": HASH})
    return data


def metrics(data: DataDir, ap: float) -> Json:
    names = data.class_names
    boxes = [sum(a["category_id"] == i for a in data.coco("val")["annotations"]) for i in range(len(names))]
    return {
        "ap": ap,
        "ap50": ap * 2.1,
        "ap75": ap * 0.8,
        "ap_small": ap * 0.3,
        "ap_medium": ap * 1.1,
        "ap_large": None,
        "ar1": ap * 1.2,
        "ar10": ap * 1.6,
        "ar100": ap * 1.8,
        "per_class": [
            {"name": name, "boxes": n, "ap": ap * (0.6 + 0.1 * i) if n else None}
            for i, (name, n) in enumerate(zip(names, boxes, strict=True))
        ],
        "ap_frequent": ap * 1.1,
        "images": len(data.coco("val")["images"]),
        "boxes": sum(boxes),
        "area_space": f"{SIZE_PX}x{SIZE_PX} pixels of the prepared image",
    }


def predictions(data: DataDir, *, seed: int, skill: float) -> list[Json]:
    rng, found = random.Random(seed), []
    for annotation in data.coco("val")["annotations"]:
        x, y, w, h = annotation["bbox"]
        good = rng.random() < skill
        jitter = 0.05 if good else 0.5
        category = (
            annotation["category_id"]
            if rng.random() < 0.5 + skill / 2
            else rng.randrange(len(data.class_names))
        )
        found.append(
            {
                "image_id": annotation["image_id"],
                "category_id": category,
                "bbox": [x + jitter * w * rng.random(), y + jitter * h * rng.random(), w, h],
                "score": round(rng.uniform(0.35, 0.95) if good else rng.uniform(0.02, 0.5), 4),
            }
        )
    for image in data.coco("val")["images"]:
        for _ in range(3):
            box = [rng.uniform(0, 200), rng.uniform(0, 200), rng.uniform(20, 100), rng.uniform(20, 100)]
            score = round(rng.uniform(0.02, 0.6) ** 1.5, 4)
            found.append({"image_id": image["id"], "category_id": 1, "bbox": box, "score": score})
    return found


def bench(model: str, p50_ms: float) -> Json:
    return {
        "records": [
            {
                "model": model,
                "device": "Test CPU, 2 threads",
                "scope": "model",
                "backend": "torch eager",
                "threads": 2,
                "stable": True,
                "throttle_reasons": [],
                "uncounted": [],
                "precision": "fp32",
                "batch": 1,
                "image_size": SIZE_PX,
                "times_ms": [p50_ms] * 5,
                "p50_ms": p50_ms,
                "p90_ms": p50_ms * 1.1,
                "p95_ms": p50_ms * 1.18,
                "p99_ms": None,
                "mean_ms": p50_ms * 1.02,
                "median_interval_ms": [p50_ms * 0.97, p50_ms * 1.03],
                "parameters": {"all": 2_412_345, "trainable": 2_400_000, "buffers": 12_345},
                "gflops": 3.92,
                "gmacs": 1.96,
                "projected": [
                    {
                        "device": "Tesla T4",
                        "backend": "TensorRT fp16",
                        "latency_ms": 1.41,
                        "interval_ms": [1.06, 1.76],
                        "basis": "straight line in GFLOPs through published points",
                    }
                ],
            }
        ]
    }


def write_run(path: Path, data: DataDir, *, distilled: bool, ap: float, steps: int = 60) -> RunDir:
    run = RunDir(path)
    recipe: Json = {
        "name": "nano-matched" if distilled else "nano-baseline",
        "description": "nano RT-DETRv2, distilled" if distilled else "nano RT-DETRv2, ground truth only",
        "student": {"model": "rtdetr-nano", "weights": "packaged", "backbone_from": None},
        "teacher": {"model": "conditional-detr-nano", "weights": "packaged"} if distilled else None,
        "train": {"steps": steps, "batch_size": 16, "lr": 5e-5, "seed": 0},
        "distill": {"features": "mse", "classes": "sigmoid-bce"} if distilled else None,
    }
    record = {
        "kind": "distill" if distilled else "train",
        "recipe": recipe,
        "data": {"path": str(data.path), "content_hash": HASH, "image_size": SIZE_PX},
        "class_names": list(data.class_names),
        "init_hash": "feedface" * 8,
        "steps": steps,
        "seconds": 754.2 if distilled else 611.0,
        "environment": {"python": "3.11.2", "cpu": "Test CPU", "gpus": [], "packages": {"torch": "2.15.0"}},
        "status": "finished",
        "created": "2025-01-01T00:00:00+00:00",
    }
    log = []
    rng = random.Random(steps + distilled)
    for step in range(1, steps + 1):
        decay = math.exp(-step / (steps / 3))
        terms = {"vfl": 0.4 + 0.5 * decay}
        if distilled:
            terms["kd_classes"] = 0.5 * decay + 0.1
        terms = {name: value * rng.uniform(0.85, 1.15) for name, value in terms.items()}
        loss = sum(terms.values())
        log.append(
            {"step": step, "loss": loss, "lr": 5e-5, "images_per_s": 21.0, "terms": terms, "raw": terms}
        )
    write_text(run.log_file, "".join(json.dumps(line) + "\n" for line in log))
    write_json(run.metrics_file("val"), {"metrics": metrics(data, ap), "initial": metrics(data, 0.021)})
    write_json(run.predictions_file("val"), predictions(data, seed=steps + distilled, skill=2 * ap))
    write_json(run.bench_file, bench("rtdetr-nano", 41.2 if distilled else 41.0))
    run.write_record(record)
    return run


def comparison_of(reference: str, name: str, *, outcome: str = "not distinguishable") -> Json:
    """As ``taco_kd.evaluate.comparison.Comparison.to_json`` writes it."""

    def interval(estimate: float, half: float) -> Json:
        return {
            "estimate": estimate,
            "low": estimate - half,
            "high": estimate + half,
            "bias": 0.0004,
            "standard_error": half / 2,
            "method": "BCa",
        }

    difference, half, p = {
        "better": (0.031, 0.018, 0.002),
        "worse": (-0.027, 0.02, 0.009),
        "not distinguishable": (0.012, 0.021, 0.24),
    }[outcome]
    return {
        "reference": reference,
        "arms": [
            {"name": reference, "metrics": {}, "ap": interval(0.223, 0.032)},
            {"name": name, "metrics": {}, "ap": interval(0.223 + difference, 0.034)},
        ],
        "differences": [
            {
                "name": name,
                "interval": interval(difference, half),
                "p_value": p,
                "outcome": outcome,
                "words": f"{name} against {reference}: the sentence of the comparison",
            }
        ],
        "images": 14,
        "boxes": 70,
        "resamples": 1000,
        "seed": 0,
        "confounders": [],
        "caveat": "Intervals cover the choice of validation images only, not the training seed.",
    }


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return write_data(tmp_path / "data")


@pytest.fixture
def runs(tmp_path: Path, data: DataDir) -> list[RunDir]:
    return [
        write_run(tmp_path / "runs" / "baseline", data, distilled=False, ap=0.223),
        write_run(tmp_path / "runs" / "matched", data, distilled=True, ap=0.235),
    ]


@pytest.fixture
def compare() -> Callable[..., Json]:
    return comparison_of


@pytest.fixture
def make_pair() -> Callable[..., tuple[DataDir, list[RunDir]]]:
    def make(
        root: Path,
        *,
        images: int = 14,
        classes: tuple[str, ...] = CLASSES,
        names: tuple[str, str] = ("baseline", "matched"),
    ) -> tuple[DataDir, list[RunDir]]:
        data = write_data(root / "own-data", images=images, classes=classes)
        pairs = zip(names, (False, True), strict=True)
        return data, [write_run(root / n, data, distilled=kd, ap=0.2, steps=40) for n, kd in pairs]

    return make


@pytest.fixture
def noise() -> Callable[[Path], None]:
    """Fill an image file with noise at 800 px: the worst there is for JPEG."""

    def fill(file: Path) -> None:
        picture = Image.frombytes("RGB", (800, 800), random.Random(file.name).randbytes(3 * 800 * 800))
        picture.save(file, quality=90)

    return fill
