"""95 % bootstrap intervals of an average precision, or of a difference, over images and training seeds.

What is estimated is the AP to be expected on validation sets *of this size*, drawn like this one. Two things
about AP make the textbook bootstrap fail on a set with rare classes (measured coverage: docs/compare.md):

- a class with one box is missing from 37 % of the resamples and moves their mean, so resamples are recentred
  on the estimate; the shift is reported as ``bias``;
- of a class with m boxes the bootstrap sees (m - 1) / m of the variance, while the jackknife, biased the
  other way (Efron and Stein, "The Jackknife Estimate of Variance", Annals of Statistics 9, 1981), sees
  m / (m - 1) of it. Resamples are scaled to the mean of both variances.

Training seeds are the second level of a hierarchical bootstrap. There are too few of them to draw from: the
mean of three drawn with replacement takes ten values, with two thirds of the variance. It is drawn from
Student's t instead, with their scatter as its scale, so that the margins of both levels add up as squares
(Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008).

Ends: BCa (Efron, "Better Bootstrap Confidence Intervals", JASA 82, 1987), or basic; widened by Student's t,
for a standard error that rests on few images is itself uncertain (Hesterberg, "What Teachers Should Know
About the Bootstrap", American Statistician 69, 2015). Its degrees of freedom match two moments of the
jackknife's squares (Satterthwaite, Biometrics Bulletin 2, 1946): 10 to 40 where a few images with rare
classes decide, nearly the number of images where all count alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats
from scipy.special import ndtr, ndtri

from taco_kd.errors import DataError
from taco_kd.evaluate.resampling import Draws
from taco_kd.evaluate.weighted_ap import Floats

CONFIDENCE = 0.95
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)

Method = Literal["bca", "basic"]
METHODS: tuple[Method, ...] = ("bca", "basic")


@dataclass(frozen=True)
class Interval:
    """An estimate in AP (0..1; a difference in -1..1) with its 95 % bootstrap interval.

    Attributes:
        estimate: on the images as they are, the mean over training seeds.
        low: lower end.
        high: upper end.
        bias: mean of the resamples minus the estimate, before they are recentred.
        standard_error: of the estimate, over images and, with several seeds, over seeds.
        method: which ends ``low`` and ``high`` are. ``basic`` where BCa degenerates: no spread, or an end
            beyond what the resamples resolve.
        bca: ends of the BCa interval, None where it degenerates.
        basic: ends of the basic ("reverse percentile") interval.
        bootstrap_error: standard deviation of the resamples as they fall, over images.
        jackknife_error: the jackknife's standard error over images.
        image_error: the part of ``standard_error`` that comes from the choice of images.
        seed_error: the part that comes from the choice of seeds; None with one seed an arm.
        degrees_of_freedom: behind ``image_error``.
    """

    estimate: float
    low: float
    high: float
    bias: float
    standard_error: float
    method: Literal["BCa", "basic"]
    bca: tuple[float, float] | None = None
    basic: tuple[float, float] | None = None
    bootstrap_error: float = 0.0
    jackknife_error: float = 0.0
    image_error: float = 0.0
    seed_error: float | None = None
    degrees_of_freedom: float = 1e9


def interval_of(parts: Sequence[Floats], draws: Draws, *, method: Method = "bca") -> Interval:
    """The interval of the sum of ``parts``, each [K, R] and averaged over its K seeds.

    Raises:
        DataError: no resample holds a box.
    """
    mean = np.sum([part.mean(axis=0) for part in parts], axis=0)
    estimate = float(mean[0])
    drawn = mean[draws.resampled]
    there = np.isfinite(drawn)  # a resample may hold no box at all
    resampled = drawn[there]
    if not len(resampled):
        raise DataError("no resample of the images holds a box: there is nothing to estimate")
    jackknife = mean[draws.jackknife]
    jackknife = jackknife[np.isfinite(jackknife)]

    # (G - 1) / G: the bootstrap's variance of a mean of G is that much too small.
    bootstrap_error = _spread(resampled) * np.sqrt(draws.groups / (draws.groups - 1))
    jackknife_error = (
        float(np.sqrt(max(0, len(jackknife) - 1)) * np.std(jackknife)) if len(jackknife) else 0.0
    )
    image_error = float(np.sqrt((bootstrap_error**2 + jackknife_error**2) / 2)) if bootstrap_error else 0.0
    scale = image_error / _spread(resampled) if bootstrap_error else 1.0
    freedom = degrees_of_freedom(jackknife)
    wider = float(stats.t.ppf(TAILS[1], freedom) / ndtri(TAILS[1]))
    values = estimate + wider * scale * (resampled - resampled.mean())
    seeds = [Seeds.of(part, draws) for part in parts if len(part) > 1]
    rng = np.random.default_rng([draws.seed, 1])
    for each in seeds:
        values = values + each.draw(rng, len(values))

    plain = np.quantile(values, TAILS)
    basic = float(2 * estimate - plain[1]), float(2 * estimate - plain[0])
    bca = bca_ends(estimate, values, jackknife)
    low, high = basic if bca is None or method == "basic" else bca
    return Interval(
        estimate=estimate,
        low=low,
        high=high,
        bias=float(resampled.mean() - estimate),
        standard_error=float(np.sqrt(image_error**2 + sum(each.variance for each in seeds))),
        method="basic" if bca is None or method == "basic" else "BCa",
        bca=bca,
        basic=basic,
        bootstrap_error=float(bootstrap_error),
        jackknife_error=jackknife_error,
        image_error=image_error,
        seed_error=float(np.sqrt(sum(each.variance for each in seeds))) if seeds else None,
        degrees_of_freedom=freedom,
    )


def degrees_of_freedom(jackknife: Floats) -> float:
    """How well a jackknife of J values knows its variance: 2 V^2 / Var(V), at least 1 and at most J - 1."""
    squares = (jackknife - jackknife.mean()) ** 2 if len(jackknife) else np.zeros(0)
    total = float(squares.sum())
    most = max(1.0, float(len(squares) - 1))
    scatter = float((squares**2).sum()) - total**2 / max(1, len(squares))
    if scatter <= 1e-12 * total**2:
        return most
    return min(most, max(1.0, 2 * total**2 / scatter))


@dataclass(frozen=True)
class Seeds:
    """What the choice of K training seeds adds to the variance of their mean.

    Part of the scatter between seeds on one set of images is each seed's own luck with those images, which
    the resampling of images has counted already; it is taken off. (In Owen, "The Pigeonhole Bootstrap",
    Annals of Applied Statistics 1, 2007, it is counted twice, and the interval is wider than needed.)

    Attributes:
        number: K.
        variance: of the mean of K seeds; 0 or more.
    """

    number: int
    variance: float

    @classmethod
    def of(cls, part: Floats, draws: Draws) -> Seeds:
        """From values [K, R]."""
        number = len(part)
        deviations = part - part.mean(axis=0)
        scatter = (deviations[:, 0] ** 2).sum() / (number - 1)
        resampled = deviations[:, draws.resampled]
        resampled = resampled[:, np.isfinite(resampled).all(axis=0)]
        by_images = resampled.var(axis=1).sum() / (number - 1) if resampled.size else 0.0
        return cls(number, max(0.0, float(scatter - by_images)) / number)

    def draw(self, rng: np.random.Generator, rows: int) -> Floats:
        """Errors of the mean: Student's t in even steps, in random order."""
        steps = (rng.permutation(rows) + 0.5) / rows
        return np.asarray(np.sqrt(self.variance) * stats.t.ppf(steps, self.number - 1))


def t_test(parts: Sequence[Floats], draws: Draws) -> float:
    """Two-sided p-value of no difference over images and seeds: where their joint margin is the estimate."""
    found = interval_of(parts, draws)
    seeds = [Seeds.of(part, draws) for part in parts if len(part) > 1]
    components = [(found.image_error, found.degrees_of_freedom)]
    components += [(float(np.sqrt(each.variance)), each.number - 1) for each in seeds]
    if found.standard_error == 0:
        return 1.0 if found.estimate == 0 else 0.0
    low, high = 0.0, 1.0
    for _ in range(50):
        p = (low + high) / 2
        margin = np.sqrt(sum((error * stats.t.isf(p / 2, freedom)) ** 2 for error, freedom in components))
        low, high = (p, high) if margin > abs(found.estimate) else (low, p)
    return float(high)


def bca_ends(estimate: float, values: Floats, jackknife: Floats) -> tuple[float, float] | None:
    """Ends of the BCa interval from resampled and jackknife values; None where the method breaks down."""
    below = np.mean(values < estimate - 1e-12) + 0.5 * np.mean(np.abs(values - estimate) <= 1e-12)
    influence = jackknife.mean() - jackknife if len(jackknife) else np.zeros(0)
    spread = float((influence**2).sum())
    if not 0 < below < 1 or spread <= 1e-24:
        return None
    bias_z = float(ndtri(below))
    acceleration = float((influence**3).sum()) / (6 * spread**1.5)
    ends = []
    for tail in TAILS:
        z = bias_z + float(ndtri(tail))
        if 1 - acceleration * z <= 0:
            return None
        ends.append(float(ndtr(bias_z + z / (1 - acceleration * z))))
    resolution = 1 / len(values)
    if ends[0] < resolution or ends[1] > 1 - resolution:
        return None
    low, high = np.quantile(values, ends)
    return float(low), float(high)


def _spread(values: Floats) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
