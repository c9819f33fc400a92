"""Speed of a paired bootstrap at the size of TACO's validation set, against evaluating every resample anew.

    OMP_NUM_THREADS=1 python benchmarks/bootstrap.py [--annotations GROUND_TRUTH.json]

225 images, 60 classes, 300 detections an image from each of two detectors. One side matches once and
reweights; the other runs pycocotools, or faster-coco-eval, on the resampled dataset for both detectors, for
boxes of all sizes and 100 detections only, which is what AP needs. It is run for a few resamples in turn with
ours and extrapolated; its datasets are built outside the clock. Times are CPU seconds of this process.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faster_coco_eval
import numpy as np
from faster_coco_eval import COCOeval_faster
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from synthetic import Detector, detect, scenes

from taco_kd.evaluate.intervals import interval_of
from taco_kd.evaluate.matching import match
from taco_kd.evaluate.pairwise import compare_predictions
from taco_kd.evaluate.resampling import Draws, contrast, each_image_alone

Json = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--annotations", type=Path, help="COCO ground truth [default: synthetic]")
    parser.add_argument("--detections", type=int, default=300, help="an image")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    truth = json.loads(options.annotations.read_text()) if options.annotations else scenes(225, seed=0)
    arms = [
        _exactly(truth, skill, seed, options.detections) for seed, skill in enumerate((0.2, 0.3), start=1)
    ]
    boxes, images = len(truth["annotations"]), len(truth["images"])
    classes = len(truth["categories"])
    print(f"{images} images, {classes} classes, {boxes} boxes, {len(arms[0]):,} detections each")

    ours, whole = [], []
    others: dict[str, list[float]] = {"pycocotools": [], "faster-coco-eval": []}
    rng = np.random.default_rng(0)
    for _ in range(options.repeats):
        ours.append(_seconds(lambda: bootstrap(truth, arms, options.resamples)))
        whole.append(_seconds(lambda: compare_predictions(truth, {"a": arms[0], "b": arms[1]})))
        resample = _resampled(truth, arms, rng)
        others["pycocotools"].append(_seconds(lambda r=resample: [_pycocotools(r[0], each) for each in r[1]]))
        others["faster-coco-eval"].append(_seconds(lambda r=resample: [_faster(r[0], each) for each in r[1]]))
    mine = statistics.median(ours)
    print(
        f"match once, {options.resamples:,} paired resamples and the interval: {mine:.2f} s ({_spread(ours)})"
    )
    median = statistics.median(whole)
    print(f"all of compare, with swap test, sizes and classes: {median:.2f} s ({_spread(whole)})")
    for name, seconds in others.items():
        each = statistics.median(seconds)
        total = each * options.resamples
        print(
            f"{name}: {each:.2f} s a resample ({_spread(seconds)}), {total:,.0f} s for "
            f"{options.resamples:,}: {total / mine:,.0f} times as long"
        )


def bootstrap(truth: Json, arms: list[list[Json]], resamples: int) -> None:
    """From dictionaries to the interval of the difference."""
    draws = Draws.make(each_image_alone(len(truth["images"])), resamples=resamples, seed=0)
    values = [match(truth, arm).ap(draws.weights)[None] for arm in arms]
    interval_of(contrast(values[0], values[1], paired=False), draws)


def _exactly(truth: Json, skill: float, seed: int, number: int) -> list[Json]:
    """Results of a synthetic detector, filled up with clutter to ``number`` an image."""
    found = detect(truth, Detector(skill, identity=seed, clutter=1.2 * number), seed=seed)
    found.sort(key=lambda row: -row["score"])
    taken: dict[int, int] = {}
    kept = []
    for row in found:
        taken[row["image_id"]] = taken.get(row["image_id"], 0) + 1
        if taken[row["image_id"]] <= number:
            kept.append(row)
    return kept


def _resampled(
    truth: Json, arms: list[list[Json]], rng: np.random.Generator
) -> tuple[Json, list[list[Json]]]:
    """A resample as a dataset of its own: an image drawn twice is two images."""
    ids = [image["id"] for image in truth["images"]]
    by_image: dict[int, list[int]] = {}
    for new, place in enumerate(rng.integers(0, len(ids), len(ids)), start=1):
        by_image.setdefault(ids[place], []).append(new)

    def copies(rows: list[Json]) -> list[Json]:
        return [row | {"image_id": new} for row in rows for new in by_image.get(row["image_id"], ())]

    boxes = [
        row | {"id": k, "iscrowd": row.get("iscrowd", 0)}
        for k, row in enumerate(copies(truth["annotations"]), 1)
    ]
    for row in boxes:
        row.pop("segmentation", None)
    dataset = {
        "images": [{"id": k, "width": 640, "height": 640} for k in range(1, len(ids) + 1)],
        "categories": truth["categories"],
        "annotations": boxes,
    }
    return dataset, [copies(arm) for arm in arms]


def _pycocotools(truth: Json, rows: list[Json]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        _ap(COCOeval(coco, coco.loadRes(rows), "bbox"))


def _faster(truth: Json, rows: list[Json]) -> None:
    coco = faster_coco_eval.COCO(truth)
    _ap(COCOeval_faster(coco, coco.loadRes(rows), "bbox", print_function=lambda *_: None))


def _ap(evaluator: Any) -> float:
    evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluator.params.maxDets = [100]
    evaluator.evaluate()
    evaluator.accumulate()
    precision = evaluator.eval["precision"]
    return float(np.mean(precision[precision > -1]))


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _spread(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f}"


if __name__ == "__main__":
    main()
