"""The difference of two arms class by class and size by size: where it comes from, if that can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taco_kd.evaluate.coco_metrics import FREQUENT_BOXES
from taco_kd.evaluate.intervals import Interval, Method, interval_of
from taco_kd.evaluate.matching import Area
from taco_kd.evaluate.resampling import ArmValues, Draws, contrast
from taco_kd.evaluate.weighted_ap import Floats

MIN_IMAGES = 5
"""What occurs in fewer images gets no interval: the bootstrap cannot know its spread."""


@dataclass(frozen=True)
class Part:
    """One class, or one range of areas.

    Attributes:
        name: of the class, or small, medium, large.
        boxes: in the ground truth that count.
        images: with such a box.
        reference_ap: mean over seeds; None without boxes. ``ap`` is that of the other arm.
        interval: of the difference; None without boxes or with too few images.
        few: fewer than 10 boxes: mostly chance.
    """

    name: str
    boxes: int
    images: int
    reference_ap: float | None
    ap: float | None
    interval: Interval | None
    few: bool


def sizes(a: ArmValues, b: ArmValues, draws: Draws, *, paired: bool, method: Method) -> tuple[Part, ...]:
    """Mean AP over classes for small, medium and large boxes."""
    found = []
    for area in a.by_area:
        if area != "all":
            boxes = int(a.boxes[area].sum())
            images = a.images_of_area[area]
            found.append(_part(area, boxes, images, a.ap(area), b.ap(area), draws, paired, method))
    return tuple(found)


def classes(
    a: ArmValues, b: ArmValues, names: Sequence[str], draws: Draws, *, paired: bool, method: Method
) -> tuple[Part, ...]:
    """Each class with boxes of all sizes, the most frequent first."""
    area: Area = "all"
    ours, theirs = (arm.by_area[area][:, : draws.jackknife.stop] for arm in (a, b))
    found = [
        _part(name, int(boxes), int(images), ours[:, :, k], theirs[:, :, k], draws, paired, method)
        for k, (name, boxes, images) in enumerate(zip(names, a.boxes[area], a.images, strict=True))
    ]
    return tuple(sorted(found, key=lambda part: -part.boxes))


def _part(
    name: str, boxes: int, images: int, a: Floats, b: Floats, draws: Draws, paired: bool, method: Method
) -> Part:
    few = boxes < FREQUENT_BOXES
    if boxes == 0:
        return Part(name, 0, images, None, None, None, few)
    interval = None
    if images >= MIN_IMAGES:
        interval = interval_of(contrast(a, b, paired=paired), draws, method=method)
    reference, other = (float(np.mean(arm[:, 0])) for arm in (a, b))
    return Part(name, boxes, images, reference, other, interval, few)
