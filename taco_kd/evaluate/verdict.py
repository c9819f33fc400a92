"""What a difference in AP means, in words."""

from __future__ import annotations

import math
from typing import Literal

from taco_kd.evaluate.intervals import Interval

Outcome = Literal["better", "worse", "not distinguishable"]

SIGNIFICANCE = 0.05
"""Largest p-value that counts as evidence; the intervals are at 95 % to match."""

FEW_IMAGES = 30
"""Below this the bootstrap knows too little of the spread between images."""

# Standard normal quantiles of a two-sided 5 % test that sees a true difference 4 times in 5.
_TEST_Z, _POWER_Z = 1.959964, 0.841621
_FEASIBLE_IMAGES = 1_000_000


def caveat(*, images: int, differences: int) -> str:
    """What intervals and p-values do not cover; to be shown with every comparison."""
    sentences = [
        "Intervals and p-values cover the choice of validation images only, not the training seed (one seed "
        "each): another seed would give another difference."
    ]
    if images < FEW_IMAGES:
        sentences.append(f"On {images} images the intervals are a rough guide at best.")
    if differences > 1:
        sentences.append(f"{differences} differences are tested and the p-values are not corrected for that.")
    return " ".join(sentences)


def outcome(difference: Interval, p_value: float) -> Outcome:
    """Better or worse only where the interval leaves out zero and the swap test agrees."""
    if p_value <= SIGNIFICANCE and difference.low > 0:
        return "better"
    if p_value <= SIGNIFICANCE and difference.high < 0:
        return "worse"
    return "not distinguishable"


def images_needed(difference: Interval, images: int) -> int | None:
    """Images at which a true difference of the size seen would be found in 4 of 5 validation sets.

    The standard error falls with the square root of the number of images. None beyond a million images.
    """
    if difference.estimate == 0:
        return None
    ratio = (_TEST_Z + _POWER_Z) * difference.standard_error / abs(difference.estimate)
    needed = images * ratio**2
    if needed > _FEASIBLE_IMAGES:
        return None
    return max(images, math.ceil(needed))


def in_words(name: str, reference: str, difference: Interval, p_value: float, images: int) -> str:
    """The verdict on ``name`` against ``reference`` as one sentence, in AP points (AP x 100)."""
    p_words = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
    evidence = f"(95 % interval, {p_words})"
    low, estimate, high = (100 * ap for ap in (difference.low, difference.estimate, difference.high))
    found = outcome(difference, p_value)
    if found == "better":
        size = f"{estimate:.1f} AP points [{low:.1f}, {high:.1f}]"
        return f"{name} is better than {reference} by {size} {evidence}"
    if found == "worse":
        size = f"{-estimate:.1f} AP points [{-high:.1f}, {-low:.1f}]"
        return f"{name} is worse than {reference} by {size} {evidence}"
    text = (
        f"{name} and {reference} are not distinguishable: "
        f"{estimate:+.1f} AP points [{low:+.1f}, {high:+.1f}] {evidence}"
    )
    if (p_value <= SIGNIFICANCE) != (low > 0 or high < 0):
        return f"{text}; the interval and the swap test disagree"
    if low == high:
        return f"{text}; they score the same on every resample"
    needed = images_needed(difference, images)
    if needed is None:
        return f"{text}; the difference is too small for any feasible number of images (now {images:,})"
    return (
        f"{text}; about {_rounded(needed):,} images would be needed to see a difference of this size "
        f"(now {images:,})"
    )


def _rounded(count: int) -> int:
    """To two significant digits: the figure is an order of size, not a plan."""
    digits = len(str(count)) - 2
    return round(count, -digits) if digits > 0 else count
