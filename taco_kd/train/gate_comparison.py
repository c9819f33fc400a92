"""One teacher against the student as it starts, on held-out images and the classes that both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from taco_kd.classes.class_map import ClassMap
from taco_kd.evaluate.mapped import MappedTeacher
from taco_kd.evaluate.pairwise import compare_predictions
from taco_kd.evaluate.predict import Rows, predict
from taco_kd.evaluate.verdict import Outcome
from taco_kd.models.detector import Detector, FeatureModel
from taco_kd.progress import Tick
from taco_kd.runs import DataDir

RESAMPLES = 400
"""Of the bootstrap; enough for an interval to one digit, in about a second."""


@dataclass(frozen=True)
class Candidate:
    """A teacher with the class map that the distillation reads its scores through."""

    teacher: Detector | FeatureModel
    classes: ClassMap


@dataclass(frozen=True)
class Answer:
    """What the gate says of one teacher.

    Attributes:
        outcome: of the paired comparison (better or worse where the 95 % interval leaves out zero); ``not
            asked`` where the teacher predicts nothing or nothing is held out.
        words: the line for people.
        images: held-out images; ``classes`` shared by both models.
        student_ap, teacher_ap: on these, in 0..1; ``difference`` is teacher minus student.
    """

    teacher: str
    outcome: Outcome | Literal["not asked"]
    words: str
    images: int = 0
    classes: int = 0
    student_ap: float | None = None
    teacher_ap: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None


def compare(
    student: Detector,
    rows: Rows,
    candidate: Candidate,
    data: DataDir,
    positions: Sequence[int],
    device: torch.device | str,
    on_progress: Tick | None,
) -> Answer:
    """The teacher against ``rows``: what the student finds in the images at ``positions`` of val."""
    assert isinstance(candidate.teacher, Detector)
    name, classes = candidate.teacher.model_name, candidate.classes
    shared = {student.class_names[i] for i in classes.student}
    truth = _truth(data, positions, shared)
    if len(positions) < 2 or not truth["annotations"]:
        words = f"{name}: fewer than 2 images or no box of a shared class are held out, so it is not asked"
        return Answer(name, "not asked", words, len(positions), len(shared))
    mapped = MappedTeacher(candidate.teacher, classes, student.class_names)
    taught = predict(mapped, data, "val", device=device, on_progress=on_progress, positions=positions)
    ids = {category["id"] for category in truth["categories"]}
    own = [row for row in rows if row["category_id"] in ids]
    found = compare_predictions(truth, {"student": own, "teacher": taught}, resamples=RESAMPLES)
    difference = found.differences[0]
    ap_s, ap_t = (arm.metrics.ap for arm in found.arms)
    interval = difference.interval
    is_better = {
        "better": "is better than",
        "worse": "is worse than",
        "not distinguishable": "is not distinguishable from",
    }[difference.outcome]
    words = (
        f"{name} (AP {_points(ap_t)}) {is_better} the student as it starts (AP {_points(ap_s)}) on "
        f"{len(positions)} held-out images and {len(shared)} classes: {100 * interval.estimate:+.1f} "
        f"[{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
    )
    return Answer(
        name,
        difference.outcome,
        words,
        len(positions),
        len(shared),
        ap_s,
        ap_t,
        interval.estimate,
        interval.low,
        interval.high,
        difference.p_value,
    )


def held_out(data: DataDir, limit: int) -> list[int]:
    """Which images of the val split: all, or a sample that is always the same."""
    count = len(data.coco("val")["images"])
    if count <= limit:
        return list(range(count))
    drawn = np.random.default_rng(0).choice(count, limit, replace=False)
    return sorted(int(place) for place in drawn)


def _truth(data: DataDir, positions: Sequence[int], shared: set[str]) -> dict[str, Any]:
    """The ground truth of these images in these classes."""
    coco = data.coco("val")
    images = [coco["images"][place] for place in positions]
    categories = [category for category in coco["categories"] if category["name"] in shared]
    image_ids, category_ids = {i["id"] for i in images}, {c["id"] for c in categories}
    annotations = [
        a for a in coco["annotations"] if a["image_id"] in image_ids and a["category_id"] in category_ids
    ]
    return {**coco, "images": images, "categories": categories, "annotations": annotations}


def _points(ap: float | None) -> str:
    return "–" if ap is None else f"{100 * ap:.1f}"
