"""Which map of the student learns from which map of the teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from taco_kd.types import FeatureSpec

Rule = Literal["nearest", "last"]


def pair_levels(
    student: Sequence[FeatureSpec], teacher: Sequence[FeatureSpec], rule: Rule = "nearest"
) -> list[tuple[int, int]]:
    """(student level, teacher level) of each stage of a feature loss.

    ``nearest``: each student level answers to the teacher level of the nearest stride. A teacher whose maps
    all have one stride (a ViT) has one stage, its last map, and teaches only the student level of the nearest
    stride. ``last``: one stage, the last map of each, as the paper's released code pairs a ViT with P5,
    though its stride of 16 is P4's.
    """
    if rule == "last":
        return [(len(student) - 1, len(teacher) - 1)]

    def distance(own: int, wanted: int) -> float:
        return abs(math.log2(teacher[wanted].stride / student[own].stride))

    if len({level.stride for level in teacher}) == 1:
        last = len(teacher) - 1
        return [(min(range(len(student)), key=lambda own: distance(own, last)), last)]
    return [
        (own, min(range(len(teacher)), key=lambda wanted: distance(own, wanted)))
        for own in range(len(student))
    ]
