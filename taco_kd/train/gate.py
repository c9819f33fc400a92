"""The teacher gate: before the first step, is the teacher better than the student that it is to teach?

Both are evaluated on the same held-out images, on the classes that they share, the teacher's scores read
through the very class map of the distillation. The student is the one that starts the run: it will get
better, so a teacher that passes can still be overtaken, but one that does not pass has little to tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from taco_kd.distill.distiller import Distiller
from taco_kd.errors import DataError, GateError
from taco_kd.evaluate.coco_metrics import EVALUATOR
from taco_kd.evaluate.predict import Rows, predict
from taco_kd.files import read_json, sha256_json, write_json
from taco_kd.models.detector import Detector, FeatureModel
from taco_kd.models.weights import weights_hash
from taco_kd.progress import Tick, notice, warn
from taco_kd.runs import DataDir
from taco_kd.train.gate_comparison import Answer, Candidate, compare, held_out

IMAGES = 200
"""Held-out images that are looked at, at most."""

_VERSION = 1


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
    positions = held_out(data, limit)
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
        answer = compare(student, rows, candidate, data, positions, device, on_progress)
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
