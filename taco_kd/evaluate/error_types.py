"""What is wrong with a detector's errors, in TIDE's terms, and the AP each kind would give back.

Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, arXiv:2008.08115:
every false positive and every missed box at IoU 0.5 is of one kind; fixing one kind alone and leaving the
others as they are gives the AP it costs. The costs do not add up to the missing AP.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taco_kd.evaluate.accumulate import precision_at_recalls
from taco_kd.evaluate.columns import Floats, Ints
from taco_kd.evaluate.greedy import Bools, Matched
from taco_kd.evaluate.inputs import CocoInput
from taco_kd.evaluate.overlap import overlapping

FOREGROUND_IOU = 0.5
"""t_f: overlap from which a box is well placed."""
BACKGROUND_IOU = 0.1
"""t_b: overlap below which a detection lies on the background."""

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
"""The first five are of detections, in the order of their codes 1 to 5; ``missed`` is of true boxes."""

EXPLANATIONS = {
    "classification": "on an object (IoU ≥ 0.5), but of another class",
    "localisation": "right class, badly placed (IoU 0.1 to 0.5)",
    "both": "another class, and badly placed",
    "duplicate": "the object was found already, by a higher score",
    "background": "on nothing (IoU < 0.1)",
    "missed": "objects that no detection explains, not even a wrong one",
}


@dataclass(frozen=True)
class ErrorTypes:
    """Kinds of errors of every detection and box; see :class:`taco_kd.evaluate.greedy.Matched` for shapes.

    Attributes:
        code: [N] 1 + index into ``KINDS`` of a false positive's kind, 0 for hits and ignored detections.
        target: [N] the true box that a classification or localisation error meant; -1 for others.
        missed: [M] boxes that are not found and not the target of an error.
        not_found: [M] all boxes that are not found.
    """

    code: Ints
    target: Ints
    missed: Bools
    not_found: Bools


@dataclass(frozen=True)
class Cost:
    """One kind of error: how many there are, and what fixing all of them adds to AP50 (0..1)."""

    kind: str
    count: int
    ap50_cost: float | None


def error_types(coco: CocoInput, matched: Matched) -> ErrorTypes:
    """The kind of every error at IoU 0.5, all confidences.

    A detection that fits several kinds is of the first of: localisation, classification, duplicate,
    background, both.
    """
    boxes = coco.found.boxes_xywh[matched.row]
    wrong = np.flatnonzero(~matched.hit[0, 0] & ~matched.ignored[0, 0])
    label, image = matched.class_index[wrong], matched.image[wrong]
    real = np.flatnonzero(matched.counts)
    pairs = overlapping(
        boxes[wrong],
        image,
        coco.truth.boxes_xywh[real],
        matched.box_image[real],
        crowd=np.zeros(len(real), dtype=bool),
        least=BACKGROUND_IOU,
    )
    truth = real[pairs.b]
    same = matched.box_class[truth] == label[pairs.a]
    own_iou, own = _best(pairs.a[same], truth[same], pairs.iou[same], len(wrong))
    other_iou, other = _best(pairs.a[~same], truth[~same], pairs.iou[~same], len(wrong))

    found = np.zeros(len(matched.box_image), dtype=bool)
    found[matched.box[0][matched.hit[0, 0]]] = True
    taken = same & found[truth] & (pairs.iou >= FOREGROUND_IOU)
    second = np.zeros(len(wrong), dtype=bool)
    second[pairs.a[taken]] = True

    badly_placed = (own_iou >= BACKGROUND_IOU) & (own_iou < FOREGROUND_IOU)
    mistaken = other_iou >= FOREGROUND_IOU
    nothing = np.maximum(own_iou, other_iou) < BACKGROUND_IOU
    kind = np.select([badly_placed, mistaken, second, nothing], [2, 1, 4, 5], default=3)
    target = np.select([badly_placed, mistaken], [own, other], default=-1)

    code = np.zeros(len(matched.row), dtype=np.int64)
    meant = np.full(len(matched.row), -1, dtype=np.int64)
    code[wrong], meant[wrong] = kind, target
    not_found = matched.counts & ~found
    missed = not_found.copy()
    missed[target[target >= 0]] = False
    return ErrorTypes(code, meant, missed, not_found)


def costs(matched: Matched, errors: ErrorTypes) -> tuple[list[Cost], list[Cost]]:
    """What each kind costs, and the summary: all false positives, all boxes that were not found.

    How each kind is fixed: a classification error gets the class, a localisation error the place of the box
    it meant; if several mean one box the best of them remains, and if the box was found already none does.
    The detections of other kinds are taken away. Missed boxes are no longer asked for.
    """
    scores, label, hit = matched.score, matched.class_index, matched.hit[0, 0]
    present = matched.boxes[0] > 0
    boxes = matched.boxes[0]
    counted = ~matched.ignored[0, 0]
    plain = _ap50(scores, label, hit, counted, boxes, present)

    def gain(fixed: float | None) -> float | None:
        return None if fixed is None or plain is None else fixed - plain

    found: list[Cost] = []
    for number, kind in enumerate(KINDS[:-1], start=1):
        of_kind = errors.code == number
        fixed_label, fixed_hit, stays = label.copy(), hit.copy(), counted & ~of_kind
        if kind in ("classification", "localisation"):
            best = _one_for_each_box(errors, of_kind, scores)
            fixed_label[best] = matched.box_class[errors.target[best]]
            fixed_hit[best] = stays[best] = True
        fixed = _ap50(scores, fixed_label, fixed_hit, stays, boxes, present)
        found.append(Cost(kind, int(of_kind.sum()), gain(fixed)))
    fewer = boxes - np.bincount(matched.box_class[errors.missed], minlength=len(boxes))
    fixed = _ap50(scores, label, hit, counted, fewer, present)
    found.append(Cost("missed", int(errors.missed.sum()), gain(fixed)))

    fewer = boxes - np.bincount(matched.box_class[errors.not_found], minlength=len(boxes))
    summary = [
        Cost(
            "false positives",
            int((errors.code > 0).sum()),
            gain(_ap50(scores, label, hit, hit, boxes, present)),
        ),
        Cost(
            "false negatives",
            int(errors.not_found.sum()),
            gain(_ap50(scores, label, hit, counted, fewer, present)),
        ),
    ]
    return found, summary


def _best(a: Ints, b: Ints, iou: Floats, count: int) -> tuple[Floats, Ints]:
    """Largest IoU [count] of each ``a``, 0 without any, and the ``b`` that has it (the first of equals)."""
    best, which = np.zeros(count), np.full(count, -1, dtype=np.int64)
    order = np.lexsort((b, -iou, a))
    first = order[np.diff(a[order], prepend=-1) > 0]
    best[a[first]], which[a[first]] = iou[first], b[first]
    return best, which


def _one_for_each_box(errors: ErrorTypes, of_kind: Bools, scores: Floats) -> Ints:
    """The best detection of the kind for each box that is not found."""
    at = np.flatnonzero(of_kind)
    at = at[errors.not_found[errors.target[at]]]
    order = at[np.lexsort((-scores[at], errors.target[at]))]
    return order[np.diff(errors.target[order], prepend=-1) > 0]


def _ap50(scores: Floats, label: Ints, hit: Bools, stays: Bools, boxes: Ints, present: Bools) -> float | None:
    """Mean AP over the classes ``present`` of the detections that stay; of a class without boxes left, 0."""
    classes = np.flatnonzero(present)
    if not len(classes):
        return None
    at = np.flatnonzero(stays)
    at = at[np.lexsort((np.arange(len(at)), -scores[at], label[at]))]
    starts = np.searchsorted(label[at], np.arange(len(boxes) + 1))
    total = 0.0
    for k in classes:
        own = hit[at[starts[k] : starts[k + 1]]]
        if boxes[k] > 0:
            total += float(precision_at_recalls(np.flatnonzero(own) + 1, int(boxes[k])).mean())
    return total / len(classes)
