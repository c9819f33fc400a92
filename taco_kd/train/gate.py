"""The teacher gate: before the first step, is the teacher better than the student that it is to teach?

Both are evaluated on the same held-out images, on the classes that they share, the teacher's scores read
through the very class map of the distillation. The student is the one that starts the run: it will get
better, so a teacher that passes can still be overtaken, but one that does not pass has little to tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from taco_kd.classes.class_map import ClassMap
from taco_kd.distill.distiller import Distiller
from taco_kd.errors import DataError, GateError
from taco_kd.evaluate.coco_metrics import EVALUATOR
from taco_kd.evaluate.pairwise import compare_predictions
from taco_kd.evaluate.predict import Rows, predict
from taco_kd.evaluate.verdict import Outcome
from taco_kd.files import read_json, sha256_json, write_json
from taco_kd.models.detector import Detector, FeatureModel
from taco_kd.models.weights import weights_hash
from taco_kd.progress import Tick, notice, warn
from taco_kd.runs import DataDir
from taco_kd.types import Detections, DetectorOutput, Targets

IMAGES = 200
"""Held-out images that are looked at, at most."""

RESAMPLES = 400
"""Of the bootstrap; enough for an interval to one digit, in about a second."""

_VERSION = 1


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


class MappedTeacher(Detector):
    """A teacher that answers in those of the student's classes that have a partner among its own."""

    family = "mapped"

    def __init__(self, teacher: Detector, classes: ClassMap, student_names: Sequence[str]) -> None:
        super().__init__(
            teacher.network,
            class_names=[student_names[i] for i in classes.student],
            model_name=teacher.model_name,
            image_size=teacher.image_size,
            features_spec=teacher.features_spec,
        )
        self._teacher, self._classes = teacher, classes

    def forward(
        self, images: Tensor, targets: Sequence[Targets] | None = None, **asked: bool
    ) -> DetectorOutput:
        """Its predictions; it has no loss and hands out no maps."""
        del targets, asked
        output: DetectorOutput = self._teacher(images)
        return DetectorOutput(self._classes.teacher_logits(output.logits), output.boxes_cxcywh)

    def decode(
        self, output: DetectorOutput, *, width: float, height: float, top_k: int = 100
    ) -> list[Detections]:
        """As the teacher's family does."""
        return self._teacher.decode(output, width=width, height=height, top_k=top_k)


def pass_gate(
    student: Detector,
    distiller: Distiller,
    data: DataDir,
    device: torch.device,
    on_progress: Tick | None = None,
) -> list[dict[str, Any]]:
    """Ask about each teacher whose lesson wants it, tell the answers, and return them for the record.

    Raises:
        GateError: a teacher that predicts is not better, and its lesson is strict.
    """
    lessons = [lesson for lesson in distiller.each() if lesson.config.gate != "off"]
    candidates = [Candidate(lesson.teacher, lesson.classes) for lesson in lessons]
    tick: Tick | None = None
    if on_progress is not None:
        tell = on_progress
        tick = lambda done, total, note="": tell(0, 1, f"teacher gate {done}/{total}")  # noqa: E731
    answers = ask(student, candidates, data, device=device, on_progress=tick)
    for lesson, answer in zip(lessons, answers, strict=True):
        report([answer], strict=lesson.config.gate == "strict")
    return [asdict(answer) for answer in answers]


def ask(
    student: Detector,
    candidates: Sequence[Candidate],
    data: DataDir,
    *,
    device: torch.device | str = "cpu",
    limit: int = IMAGES,
    on_progress: Tick | None = None,
) -> list[Answer]:
    """An answer for each teacher, on at most ``limit`` images of the val split.

    Answers are kept beside the data: the same teacher, initial student, class map and data are not asked
    twice. Models are on ``device`` afterwards; the student is in the mode it came in.
    """
    training = student.training
    before = weights_hash(student.network)
    rows: Rows | None = None
    positions = _positions(data, limit)
    answers = []
    for candidate in candidates:
        teacher = candidate.teacher
        if isinstance(teacher, FeatureModel) or not candidate.classes.student:
            what = "predicts no boxes" if isinstance(teacher, FeatureModel) else "teaches by its maps alone"
            words = f"{teacher.model_name} {what}, so whether it is better cannot be asked"
            answers.append(Answer(teacher.model_name, "not asked", words))
            continue
        file = data.gate_file(_key(student, before, candidate, data, limit))
        if file.is_file():
            try:
                answers.append(Answer(**read_json(file)))
                continue
            except (DataError, TypeError):
                pass  # damaged or of another version: asked anew
        if rows is None:
            rows = predict(student, data, "val", device=device, on_progress=on_progress, positions=positions)
        answer = _compare(student, rows, candidate, data, positions, device, on_progress)
        answers.append(answer)
        with contextlib.suppress(OSError):  # data that is not ours to write: asked again next time
            write_json(file, asdict(answer))
    student.train(training)
    return answers


def report(answers: Sequence[Answer], *, strict: bool) -> None:
    """One line for each answer; a warning where the teacher is not better.

    Raises:
        GateError: ``strict``, and a teacher that predicts is not better.
    """
    for answer in answers:
        if answer.outcome in ("better", "not asked"):
            notice(f"Teacher gate: {answer.words}.")
        elif strict:
            raise GateError(
                f"teacher gate: {answer.words}; --strict trains nothing then: take a better teacher, "
                "fine-tune this one on these classes (taco-kd train --model), or leave --strict out"
            )
        else:
            warn(f"teacher gate: {answer.words}; what it predicts may not help")


def _compare(
    student: Detector,
    rows: Rows,
    candidate: Candidate,
    data: DataDir,
    positions: Sequence[int],
    device: torch.device | str,
    on_progress: Tick | None,
) -> Answer:
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


def _positions(data: DataDir, limit: int) -> list[int]:
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


def _key(student: Detector, student_hash: str, candidate: Candidate, data: DataDir, limit: int) -> str:
    teacher, classes = candidate.teacher, candidate.classes
    parts = [
        _VERSION,
        EVALUATOR,
        data.content_hash,
        limit,
        [student_hash, dict(student.metadata())],
        [weights_hash(teacher.network), dict(teacher.metadata())],
        [classes.student, classes.teacher],
    ]
    return sha256_json(parts)[:32]


def _points(ap: float | None) -> str:
    return "–" if ap is None else f"{100 * ap:.1f}"
