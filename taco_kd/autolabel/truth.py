"""Where the true objects are known: which of the naive labels are really wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torchvision.ops import box_iou

from taco_kd.autolabel.naive import NaiveBox
from taco_kd.evaluate.classes import same_name

MIN_IOU = 0.5
"""overlap from which a box counts as drawn around an object, as in AP50"""


@dataclass(frozen=True)
class TrueBox:
    """One real object: its class and its corners in pixels of the upright photo."""

    class_name: str
    box_xyxy: tuple[float, float, float, float]


Truth = dict[str, tuple[TrueBox, ...]]
"""Every object of a photo, by the photo's file name; a photo that is not in it has no known truth."""


class Fact(Enum):
    """What a naive label turns out to be."""

    RIGHT = "right"
    OTHER_OBJECT = "other object"
    """around an object of another class than the label's"""
    NOTHING = "nothing"
    """around no object"""


def check(boxes: Sequence[NaiveBox], objects: Sequence[TrueBox]) -> list[Fact]:
    """The fact about each box: the class of the object it overlaps most, if by ``MIN_IOU`` or more."""
    if not boxes or not objects:
        return [Fact.NOTHING] * len(boxes)
    overlap = box_iou(
        torch.tensor([box.box_xyxy for box in boxes]), torch.tensor([item.box_xyxy for item in objects])
    )
    facts = []
    for box, (iou, which) in zip(
        boxes, zip(*(t.tolist() for t in overlap.max(dim=1)), strict=True), strict=True
    ):
        if iou < MIN_IOU:
            facts.append(Fact.NOTHING)
        elif same_name(objects[which].class_name) == same_name(box.label):
            facts.append(Fact.RIGHT)
        else:
            facts.append(Fact.OTHER_OBJECT)
    return facts
