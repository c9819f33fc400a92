"""How many images, or training seeds, a comparison needs, from the errors measured on the set at hand.

A two-sided 5 % test finds a true difference d with 80 % power where d = (1.96 + 0.84) standard errors. How
the error falls with the number of images has two bounds. As long as the classes are those that occur here, it
falls with the square root. But AP is a mean over the classes that occur, and a larger set brings in new rare
classes with errors of their own, so on imbalanced data it falls more slowly: that rate is measured on parts
of the set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from taco_kd.evaluate.intervals import Interval
from taco_kd.evaluate.resampling import SUBSETS, Draws
from taco_kd.evaluate.weighted_ap import Floats

SIGNIFICANCE, POWER = 0.05, 0.8
TEST_Z, POWER_Z = 1.959964, 0.841621
"""Standard normal quantiles of a two-sided 5 % test that sees a true difference 4 times in 5."""

SQUARE_ROOT = 0.5
MIN_RATE = 0.25
FEASIBLE_IMAGES = 1_000_000
_STEPS = (0.5, 1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Rate:
    """The standard error falls with the number of images to the power ``-measured``; 0.5 is a square root."""

    measured: float
    from_subsets: bool


@dataclass(frozen=True)
class PlanPoint:
    """What a validation set of ``images`` could tell. Pairs: at the measured rate, and at the square root.

    ``smallest_difference`` (AP) is found with 80 % power, ``power`` is that for the planned difference.
    """

    images: int
    power: tuple[float, float]
    smallest_difference: tuple[float, float]


@dataclass(frozen=True)
class Plan:
    """What it takes to find a true difference of ``difference`` (AP) with 80 % power at 5 %.

    Attributes:
        images_needed: at the square root and at the measured rate, with the seeds there are; None where more
            than a million, or no number, would do.
        seeds_needed: seeds an arm on the images there are; None where no number would do, or where one seed
            an arm tells nothing of the others.
        smallest_difference: (AP) found with 80 % power as things are.
        images: now; ``seeds`` an arm, now.
        rate: see :class:`Rate`.
        curve: power against the number of images.
    """

    difference: float
    images_needed: tuple[int | None, int | None]
    seeds_needed: int | None
    smallest_difference: float
    images: int
    seeds: int
    rate: Rate
    curve: tuple[PlanPoint, ...]


def rate_of(parts: Sequence[Floats], draws: Draws) -> Rate:
    """The rate at which the error of the sum of ``parts`` [K, R] falls, from sets of 1/8 and 1/2 of the size.

    Sets drawn without replacement out of n scatter less than independent ones, by 1 - m / n in variance.
    """
    if not draws.subsets:
        return Rate(SQUARE_ROOT, False)
    mean = np.sum([part.mean(axis=0) for part in parts], axis=0)
    errors = []
    for place, share in enumerate(SUBSETS):
        values = mean[draws.subset(place)]
        values = values[np.isfinite(values)]
        errors.append(float(np.std(values) / np.sqrt(1 - 1 / share)) if len(values) > 2 else 0.0)
    if min(errors) <= 0:
        return Rate(SQUARE_ROOT, False)
    found = math.log(errors[0] / errors[1]) / math.log(SUBSETS[0] / SUBSETS[1])
    return Rate(min(SQUARE_ROOT, max(MIN_RATE, found)), True)


def plan(difference: float, found: Interval, *, images: int, seeds: int, rate: Rate) -> Plan:
    """Plan for a true difference of ``difference`` (AP, above 0) from the errors of an interval."""
    of_images, of_seeds = found.image_error, found.seed_error or 0.0
    rates = (rate.measured, SQUARE_ROOT)

    def error(number: float, power: float) -> float:
        return math.hypot(of_images * (images / number) ** power, of_seeds)

    points = []
    for step in _STEPS:
        number = max(2, round(images * step))
        slow, fast = (error(number, power) for power in rates)
        points.append(
            PlanPoint(
                number,
                (power_of(difference, slow), power_of(difference, fast)),
                ((TEST_Z + POWER_Z) * slow, (TEST_Z + POWER_Z) * fast),
            )
        )
    return Plan(
        difference=difference,
        images_needed=(
            images_for(difference, found, images, SQUARE_ROOT),
            images_for(difference, found, images, rate.measured),
        ),
        seeds_needed=_seeds_for(difference, found, seeds),
        smallest_difference=(TEST_Z + POWER_Z) * found.standard_error,
        images=images,
        seeds=seeds,
        rate=rate,
        curve=tuple(points),
    )


def power_of(difference: float, error: float) -> float:
    """Probability that a two-sided 5 % test finds a true difference, of either sign."""
    if error == 0:
        return 1.0
    shift = abs(difference) / error
    return float(ndtr(shift - TEST_Z) + ndtr(-shift - TEST_Z))


def images_for(difference: float, found: Interval, images: int, rate: float) -> int | None:
    """Images at which ``difference`` would be found in 4 of 5 validation sets, with the seeds there are.

    None beyond a million, or where the scatter of the seeds alone hides the difference.
    """
    wanted = (abs(difference) / (TEST_Z + POWER_Z)) ** 2 - (found.seed_error or 0.0) ** 2
    if wanted <= 0:
        return None
    ratio = (found.image_error or found.standard_error) / math.sqrt(wanted)
    if math.log(max(ratio, 1e-9)) / rate > math.log(FEASIBLE_IMAGES / images):
        return None
    return max(2, math.ceil(images * float(ratio ** (1 / rate))))


def _seeds_for(difference: float, found: Interval, seeds: int) -> int | None:
    if found.seed_error is None:
        return None
    wanted = (difference / (TEST_Z + POWER_Z)) ** 2 - found.image_error**2
    if wanted <= 0:
        return None
    return max(1, math.ceil(seeds * found.seed_error**2 / wanted - 1e-9))
