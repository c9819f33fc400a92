"""Which map of the student learns from which map of the teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence

from taco_kd.types import FeatureSpec


def pair_levels(student: Sequence[FeatureSpec], teacher: Sequence[FeatureSpec]) -> list[tuple[int, int]]:
    """(student level, teacher level) of each stage of a feature loss.

    Each student level answers to the teacher level of the nearest stride. A teacher whose maps all have one
    stride (a ViT) has one stage, its last map, and teaches only the student level of the nearest stride.
    """

    def distance(own: int, wanted: int) -> float:
        return abs(math.log2(teacher[wanted].stride / student[own].stride))

    if len({level.stride for level in teacher}) == 1:
        last = len(teacher) - 1
        return [(min(range(len(student)), key=lambda own: distance(own, last)), last)]
    return [
        (own, min(range(len(teacher)), key=lambda wanted: distance(own, wanted)))
        for own in range(len(student))
    ]
