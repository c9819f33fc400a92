"""Which boxes show semantic mismatch best: the choice behind the figure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from operator import itemgetter

from taco_kd.autolabel.compatibility import Compatibility, Verdict
from taco_kd.autolabel.folders import Photo
from taco_kd.autolabel.naive import LabelledPhoto, NaiveBox
from taco_kd.autolabel.truth import Fact, Truth, check

EXAMPLES = 6
_MIN_SIDE = 0.08  # of the photo; a smaller box is hardly seen in a figure

_Rank = tuple[bool, bool, float]


@dataclass(frozen=True)
class Example:
    """One telling box and the photo it is in."""

    photo: Photo
    box: NaiveBox


def choose_examples(
    photos: Sequence[LabelledPhoto],
    compatibility: Compatibility,
    vocabulary: Collection[str],
    *,
    truth: Truth | None = None,
    count: int = EXAMPLES,
) -> list[Example]:
    """The most telling contradictions: one a photo, the folders in turn.

    First boxes that are large enough to be seen in the figure, among them first what no folder could hold (a
    person), then by score. Where the truth is known, only labels that are really wrong.
    """
    by_folder: dict[str, list[tuple[_Rank, Example]]] = {}
    for labelled in photos:
        ranked = []
        objects = (truth or {}).get(labelled.photo.file_name)
        facts = check(labelled.boxes, objects) if objects is not None else [None] * len(labelled.boxes)
        for box, fact in zip(labelled.boxes, facts, strict=True):
            verdict = compatibility.judge(box.label, box.detector_class, vocabulary)
            if verdict is Verdict.MISMATCH and fact is not Fact.RIGHT:
                x1, y1, x2, y2 = box.box_xyxy
                small = min((x2 - x1) / labelled.width, (y2 - y1) / labelled.height) < _MIN_SIDE
                rank = (small, not compatibility.never(box.detector_class), -box.score)
                ranked.append((rank, Example(labelled.photo, box)))
        if ranked:
            by_folder.setdefault(labelled.photo.label, []).append(min(ranked, key=itemgetter(0)))
    queues = [sorted(examples, key=itemgetter(0)) for examples in by_folder.values()]
    queues.sort(key=lambda queue: queue[0][0])
    in_turn = [entry[1] for turn in zip_longest(*queues) for entry in turn if entry is not None]
    return in_turn[:count]
