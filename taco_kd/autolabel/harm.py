"""Every naive label with what is known against it, in an order of harm."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from taco_kd.autolabel.compatibility import Compatibility, Verdict
from taco_kd.autolabel.naive import LabelledPhoto, NaiveBox
from taco_kd.autolabel.truth import Fact, Truth, check
from taco_kd.files import sha256_json


class Suspicion(Enum):
    """How sure it is that a label is wrong, worst first."""

    WRONG = "known to be wrong"
    NEVER = "no folder could hold it"
    CONTRADICTS = "contradicts its folder"
    UNKNOWN = "nobody can tell"
    POSSIBLE = "may be right"
    RIGHT = "known to be right"


_BY_VERDICT = {
    Verdict.MISMATCH: Suspicion.CONTRADICTS,
    Verdict.UNKNOWN: Suspicion.UNKNOWN,
    Verdict.COMPATIBLE: Suspicion.POSSIBLE,
}


@dataclass(frozen=True)
class JudgedBox:
    """One naive label.

    Attributes:
        id: number of its annotation in ``naive.json``, from 1.
        place: index of its photo.
        fact: what it really is; None where the truth is not known.
        weight: how much of a training signal it is, 0..1: confidence x share of the photo it covers.
    """

    id: int
    place: int
    box: NaiveBox
    verdict: Verdict
    suspicion: Suspicion
    fact: Fact | None
    weight: float

    @property
    def harm(self) -> tuple[int, float]:
        """Sorts from the most harmful: suspicion first, then weight."""
        return list(Suspicion).index(self.suspicion), -self.weight

    def record(self) -> dict[str, Any]:
        """What is added to the annotation."""
        return {
            "verdict": self.verdict.value,
            "suspicion": self.suspicion.value,
            "truth": self.fact.value if self.fact else None,
            "weight": round(self.weight, 4),
        }


def judge_boxes(
    photos: Sequence[LabelledPhoto],
    table: Compatibility,
    vocabulary: Collection[str],
    *,
    truth: Truth | None = None,
) -> list[JudgedBox]:
    """All labels of ``photos`` in their order, numbered as their annotations are."""
    found: list[JudgedBox] = []
    for place, labelled in enumerate(photos):
        objects = (truth or {}).get(labelled.photo.file_name)
        facts = check(labelled.boxes, objects) if objects is not None else [None] * len(labelled.boxes)
        for box, fact in zip(labelled.boxes, facts, strict=True):
            verdict = table.judge(box.label, box.detector_class, vocabulary)
            x1, y1, x2, y2 = box.box_xyxy
            share = (x2 - x1) * (y2 - y1) / (labelled.width * labelled.height)
            suspicion = _suspicion(verdict, fact, table.never(box.detector_class))
            found.append(
                JudgedBox(len(found) + 1, place, box, verdict, suspicion, fact, min(1.0, box.score * share))
            )
    return found


def _suspicion(verdict: Verdict, fact: Fact | None, never: bool) -> Suspicion:
    if fact is not None:
        return Suspicion.RIGHT if fact is Fact.RIGHT else Suspicion.WRONG
    if verdict is Verdict.MISMATCH and never:
        return Suspicion.NEVER
    return _BY_VERDICT[verdict]


def labels_hash(photos: Sequence[LabelledPhoto]) -> str:
    """Names a set of naive labels: a review of others cannot be taken for one of these."""
    return sha256_json(
        [
            [
                p.photo.file_name,
                [[b.detector_class, b.label, *(round(v, 1) for v in b.box_xyxy)] for b in p.boxes],
            ]
            for p in photos
        ]
    )
