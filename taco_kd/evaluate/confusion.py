"""Which class is taken for which, at IoU 0.5 and one confidence threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taco_kd.evaluate.columns import Ints
from taco_kd.evaluate.error_types import FOREGROUND_IOU
from taco_kd.evaluate.greedy import Matched
from taco_kd.evaluate.inputs import CocoInput
from taco_kd.evaluate.overlap import overlapping


@dataclass(frozen=True)
class Confusion:
    """Counts of (true class, detected class).

    Attributes:
        class_names: C names, in the order of the ground truth.
        counts: [C + 1, C + 1]; rows are true classes and the background, columns detected classes and "not
            found". The corner of background and "not found" is 0: nothing was there and nothing was said.
        confidence: detections below are left out.
        iou: overlap from which a detection and a box belong together.
    """

    class_names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    confidence: float
    iou: float = FOREGROUND_IOU


def confusion(coco: CocoInput, matched: Matched, *, confidence: float) -> Confusion:
    """Right pairs first, as COCO matches them; then what is left, by score, whatever the classes.

    So the diagonal holds the true positives of the other figures. Each detection and each box is used once;
    detections matched to crowds are left out.
    """
    classes = len(coco.categories)
    kept = (matched.score >= confidence) & ~matched.ignored[0, 0]
    hit = matched.hit[0, 0] & kept
    free = matched.counts.copy()
    right = matched.box[0][hit]
    free[right] = False
    counts = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    np.add.at(counts, (matched.box_class[right], matched.box_class[right]), 1)

    left, boxes = np.flatnonzero(kept & ~hit), np.flatnonzero(free)
    for detection, box in _pairs(coco, matched, left, boxes):
        true = classes if box < 0 else matched.box_class[box]
        counts[true, matched.class_index[detection]] += 1
        if box >= 0:
            free[box] = False
    counts[:classes, classes] = np.bincount(matched.box_class[free], minlength=classes)

    order = np.append(np.argsort(np.argsort(list(coco.categories))), classes)  # from ascending ids to theirs
    counts = counts[np.ix_(order, order)]
    return Confusion(tuple(coco.categories.values()), tuple(map(tuple, counts.tolist())), confidence)


def _pairs(coco: CocoInput, matched: Matched, left: Ints, boxes: Ints) -> list[tuple[int, int]]:
    """Each detection of ``left`` with the free box it overlaps most, or -1; best score first."""
    pairs = overlapping(
        coco.found.boxes_xywh[matched.row[left]],
        matched.image[left],
        coco.truth.boxes_xywh[boxes],
        matched.box_image[boxes],
        crowd=np.zeros(len(boxes), dtype=bool),
        least=FOREGROUND_IOU,
    )
    candidates: dict[int, list[tuple[float, int]]] = {}
    for a, b, iou in zip(pairs.a.tolist(), pairs.b.tolist(), pairs.iou.tolist(), strict=True):
        candidates.setdefault(a, []).append((iou, int(boxes[b])))
    used: set[int] = set()
    found = []
    for a in np.argsort(-matched.score[left], kind="stable").tolist():
        options = [option for option in candidates.get(a, ()) if option[1] not in used]
        box = max(options)[1] if options else -1
        used.add(box)
        found.append((int(left[a]), box))
    return found
