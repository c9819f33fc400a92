"""COCO's greedy matching of detections to boxes, for all images, classes, areas and thresholds at once.

Only pairs that overlap enough to match at all are looked at. They are taken in turns: in each turn at most
one detection of each (image, class) decides, for every area range and threshold at the same time. Shapes:
A area ranges, T IoU thresholds, N detections, M true boxes, C classes, I images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from taco_kd.evaluate.columns import Floats, Ints, index_of
from taco_kd.evaluate.inputs import CocoInput
from taco_kd.evaluate.overlap import Pairs, overlapping

Bools = npt.NDArray[np.bool_]

IOU_THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
AREA_RANGES = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""In square pixels; a box on a boundary belongs to both sides, as in COCO."""
MAX_DETECTIONS = 100
"""Per image and class."""


@dataclass(frozen=True)
class Matched:
    """What was matched to what. Detections are sorted by class, then from the highest score down.

    Among equal scores the order is that of the image ids, then that of the results. Those beyond
    ``MAX_DETECTIONS`` of an image and class are left out.

    Attributes:
        row: [N] index of the detection in the results.
        image: [N] index of its image; ``rank`` [N] its place, from 0, in its image and class.
        score: [N].
        starts: [C + 1] detections of class k are ``starts[k]:starts[k + 1]``; classes by ascending id.
        hit: [A, T, N] matched to a box that counts.
        ignored: [A, T, N] counts neither as a hit nor as an error.
        box: [T, N] index of the box it is matched to among all areas, -1 for none.
        boxes: [A, C] boxes that count.
        box_image: [M] image of each true box; ``box_class`` [M] its class; ``counts`` [M] it is no crowd.
    """

    row: Ints
    image: Ints
    rank: Ints
    score: Floats
    starts: Ints
    hit: Bools
    ignored: Bools
    box: npt.NDArray[np.int32]
    boxes: Ints
    box_image: Ints
    box_class: Ints
    counts: Bools

    @cached_property
    def class_index(self) -> Ints:
        """[N] class of each detection."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def match_greedily(coco: CocoInput) -> Matched:
    """Match the detections of ``coco`` as pycocotools' ``COCOeval.evaluate`` does."""
    truth, found = coco.truth, coco.found
    class_ids = np.sort(np.array(truth.category_ids, dtype=np.int64))
    box_image = index_of(truth.box_image_ids, truth.image_ids)
    box_class = index_of(truth.box_category_ids, class_ids)
    image, label = index_of(found.image_ids, truth.image_ids), index_of(found.category_ids, class_ids)
    row, rank = _best_of_each(image, label, found.scores)
    order = np.lexsort((rank, image[row], -found.scores[row], label[row]))
    row, rank = row[order], rank[order]
    image, label = image[row], label[row]

    box_areas, areas = coco.box_areas()
    low, high = np.array(list(AREA_RANGES.values())).T[:, :, None]
    crowd = truth.crowd.astype(bool)
    ignored_box = crowd | (box_areas < low) | (box_areas > high)  # [A, M]
    outside = (areas[row] < low) | (areas[row] > high)  # [A, N]

    images = len(truth.image_ids)
    group = label * images + image
    pairs = overlapping(
        found.boxes_xywh[row],
        group,
        truth.boxes_xywh,
        box_class * images + box_image,
        crowd=crowd,
        least=float(IOU_THRESHOLDS[0]),
    )
    box = _in_turns(pairs, group, ignored_box, crowd)
    ignored = np.repeat(outside[:, None], len(IOU_THRESHOLDS), axis=1)
    hit = box >= 0
    at = np.nonzero(hit)
    ignored[at] = ignored_box[at[0], box[at]]
    return Matched(
        row=row,
        image=image,
        rank=rank,
        score=found.scores[row],
        starts=np.searchsorted(label, np.arange(len(class_ids) + 1)),
        hit=hit & ~ignored,
        ignored=ignored,
        box=box[0],
        boxes=np.stack([np.bincount(box_class[~out], minlength=len(class_ids)) for out in ignored_box]),
        box_image=box_image,
        box_class=box_class,
        counts=~crowd,
    )


def _best_of_each(image: Ints, label: Ints, scores: Floats) -> tuple[Ints, Ints]:
    """Rows sorted by class, image and falling score, with their rank; at most ``MAX_DETECTIONS`` of each."""
    row = np.lexsort((-scores, image, label))
    same = (np.diff(label[row], prepend=-1) == 0) & (np.diff(image[row], prepend=-1) == 0)
    place = np.arange(len(row))
    rank = place - np.maximum.accumulate(np.where(same, 0, place))
    keep = rank < MAX_DETECTIONS
    return row[keep], rank[keep]


def _in_turns(pairs: Pairs, group: Ints, ignored_box: Bools, crowd: Bools) -> npt.NDArray[np.int32]:
    """[A, T, N] box of each detection, or -1; in each ``group`` [N] detections go from the best down."""
    found = np.full((len(ignored_box), len(IOU_THRESHOLDS), len(group)), -1, dtype=np.int32)
    taken = np.zeros((*found.shape[:2], len(crowd)), dtype=bool)
    least = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)[:, None, None]
    detections, first, count = np.unique(pairs.a, return_index=True, return_counts=True)
    in_group = _turn(group[detections])
    for turn in range(int(in_group.max(initial=-1)) + 1):
        now = np.flatnonzero(in_group == turn)
        slots = np.arange(int(count[now].max()))
        place = (first[now, None] + slots).clip(max=len(pairs.a) - 1)  # [S, K] candidates of each detection
        box = pairs.b[place]
        iou = np.where(slots < count[now, None], pairs.iou[place], -1.0)
        free = (iou >= least) & (~taken[:, :, box] | crowd[box])  # [A, T, S, K]
        counting = free & ~ignored_box[:, None, box]
        # A box that counts goes before one that is ignored, then the larger overlap, then the later box.
        options = np.where(counting.any(axis=-1, keepdims=True), counting, free)
        best = len(slots) - 1 - np.where(options, iou, -1.0)[..., ::-1].argmax(axis=-1)  # [A, T, S]
        a, t, s = np.nonzero(options.any(axis=-1))
        chosen = box[s, best[a, t, s]]
        found[a, t, detections[now[s]]] = chosen
        taken[a, t, chosen] = True
    return found


def _turn(group: Ints) -> Ints:
    """[N] how many earlier entries have the same value."""
    order = np.argsort(group, kind="stable")
    grouped = group[order]
    turn = np.empty(len(group), dtype=np.int64)
    turn[order] = np.arange(len(group)) - np.searchsorted(grouped, grouped)
    return turn
