"""Ways out of the pitfall, on the same images: which labels each keeps, and what can be said of those."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torchvision.ops import box_iou

from taco_kd.autolabel.compatibility import Verdict
from taco_kd.autolabel.harm import JudgedBox
from taco_kd.autolabel.naive import LabelledPhoto, NaiveBox
from taco_kd.errors import UsageError, one_of
from taco_kd.evaluate.classes import same_name
from taco_kd.types import Detections

AGREE_IOU = 0.5
"""overlap from which two detectors mean the same object"""
CONFIDENCES = (0.5, 0.7)

Boxes = tuple[NaiveBox, ...]


@dataclass(frozen=True)
class Second:
    """What another detector found in the same photos, one ``Detections`` each, in the photo's pixels."""

    name: str
    class_names: tuple[str, ...]
    found: Sequence[Detections]


@dataclass(frozen=True)
class Remedy:
    """Labels that are left, or why there are none.

    Attributes:
        key: how the command line and records call it.
        text: what it does, in a few words.
        boxes: the labels of each photo, in the order of the photos; None where it is not available.
        kept: ids of the naive labels among them; empty for a remedy that draws boxes of its own.
        absent: why it is not available.
    """

    key: str
    text: str
    boxes: tuple[Boxes, ...] | None = None
    kept: frozenset[int] = frozenset()
    absent: str | None = None


def apply_remedies(
    photos: Sequence[LabelledPhoto],
    judged: Sequence[JudgedBox],
    *,
    second: Second | str,
    words: Second | str,
    confidences: Sequence[float] = CONFIDENCES,
) -> list[Remedy]:
    """All remedies, the naive labels first.

    Args:
        second: another detector of fixed classes, or why there is none.
        words: an open-vocabulary detector asked for the folder's name, or why there is none.
    """

    def where(key: str, text: str, keep: Callable[[JudgedBox], bool]) -> Remedy:
        return _subset(key, text, photos, [b for b in judged if keep(b)])

    def possible(box: JudgedBox) -> bool:
        return box.verdict is not Verdict.MISMATCH

    remedies = [
        where("naive", "every box", lambda _: True),
        where("table", "the table does not contradict", possible),
        where("confirmed", "the table says yes", lambda b: b.verdict is Verdict.COMPATIBLE),
    ]
    for least in confidences:
        sure = [b for b in judged if b.box.score >= least]
        remedies.append(_subset(f"confidence-{least:g}", f"confidence of at least {least:g}", photos, sure))
    if isinstance(second, str):
        remedies.append(Remedy("agreement", "two detectors agree", absent=second))
        remedies.append(Remedy("table+agreement", "both", absent=second))
    else:
        agreed = _agreed(judged, second)
        text = f"{second.name} sees the same"
        remedies.append(where("agreement", text, lambda b: b.id in agreed))
        remedies.append(
            where("table+agreement", "the same, not contradicted", lambda b: b.id in agreed and possible(b))
        )
    if isinstance(words, str):
        remedies.append(Remedy("open-vocabulary", "open-vocabulary detector", absent=words))
    else:
        remedies.append(_own_boxes(photos, words))
        near = _near(judged, words)
        text = f"{words.name} sees the folder's name there"
        remedies.append(where("open-vocabulary+box", text, lambda b: b.id in near))
    return remedies


def chosen_remedy(remedies: Sequence[Remedy], key: str) -> Remedy:
    """The remedy of that name; UsageError where there is none or it is not available."""
    by_key = {remedy.key: remedy for remedy in remedies if remedy.key != "naive"}
    if key not in by_key:
        raise UsageError(f"--filter: {one_of('remedy', key, by_key)}")
    if by_key[key].absent:
        raise UsageError(f"--filter {key}: not available: {by_key[key].absent}")
    return by_key[key]


def _subset(key: str, text: str, photos: Sequence[LabelledPhoto], boxes: Sequence[JudgedBox]) -> Remedy:
    by_photo: list[list[NaiveBox]] = [[] for _ in photos]
    for box in boxes:
        by_photo[box.place].append(box.box)
    return Remedy(key, text, tuple(tuple(b) for b in by_photo), frozenset(box.id for box in boxes))


def _agreed(judged: Sequence[JudgedBox], second: Second) -> frozenset[int]:
    """Labels around which the second detector finds an object of the same class."""
    names = [same_name(name) for name in second.class_names]
    return _overlapping(
        judged,
        second,
        lambda box, found: torch.tensor(
            [names[int(c)] == same_name(box.box.detector_class) for c in found.class_ids], dtype=torch.bool
        ),
    )


def _near(judged: Sequence[JudgedBox], words: Second) -> frozenset[int]:
    return _overlapping(judged, words, lambda _, found: torch.ones(len(found), dtype=torch.bool))


def _overlapping(
    judged: Sequence[JudgedBox],
    other: Second,
    same: Callable[[JudgedBox, Detections], torch.Tensor],
) -> frozenset[int]:
    kept = set()
    for box in judged:
        found = other.found[box.place]
        fits = same(box, found)
        if fits.any():
            overlap = box_iou(torch.tensor([box.box.box_xyxy]), found.boxes_xyxy[fits].float())
            if float(overlap.max()) >= AGREE_IOU:
                kept.add(box.id)
    return frozenset(kept)


def _own_boxes(photos: Sequence[LabelledPhoto], words: Second) -> Remedy:
    boxes = tuple(
        tuple(
            NaiveBox((x1, y1, x2, y2), photo.photo.label, photo.photo.label, score)
            for (x1, y1, x2, y2), score in zip(found.boxes_xyxy.tolist(), found.scores.tolist(), strict=True)
            if x2 > x1 and y2 > y1
        )
        for photo, found in zip(photos, words.found, strict=True)
    )
    return Remedy("open-vocabulary", f"{words.name} asked for the folder's name", boxes)


def kept_by(remedies: Sequence[Remedy]) -> Mapping[int, list[str]]:
    """For each naive label the remedies that keep it."""
    found: dict[int, list[str]] = {}
    for remedy in remedies[1:]:
        for box_id in sorted(remedy.kept):
            found.setdefault(box_id, []).append(remedy.key)
    return found
