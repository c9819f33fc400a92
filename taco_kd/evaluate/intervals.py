"""95 % bootstrap intervals of an average precision, or of a difference, over images and training seeds.

What is estimated is the AP to be expected on validation sets *of this size*, drawn like this one. Two things
about AP make the textbook bootstrap fail on a set with rare classes (measured coverage: docs/compare.md):

- a class with one box is missing from 37 % of the resamples and moves their mean, so resamples are recentred
  on the estimate; the shift is reported as ``bias``;
- of a class with m boxes the bootstrap sees (m - 1) / m of the variance, while the jackknife, biased the
  other way (Efron and Stein, "The Jackknife Estimate of Variance", Annals of Statistics 9, 1981), sees
  m / (m - 1) of it. Resamples are scaled to the mean of both variances.

Ends: BCa (Efron, "Better Bootstrap Confidence Intervals", JASA 82, 1987), or basic. Both are widened by
Student's t with Satterthwaite's degrees of freedom for few groups or seeds (Hesterberg, "What Teachers Should
Know About the Bootstrap", American Statistician 69, 2015: the expanded interval).
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
        degrees_of_freedom: behind ``standard_error``.
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

    @property
    def p_value(self) -> float:
        """Two-sided p-value of no difference, by Student's t on the standard error."""
        if self.standard_error == 0:
            return 1.0 if self.estimate == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.estimate) / self.standard_error, self.degrees_of_freedom))


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
    seeds = [_Seeds.of(part, draws) for part in parts if len(part) > 1]
    values = estimate + scale * (resampled - resampled.mean())
    rng = np.random.default_rng([draws.seed, 1])
    for each in seeds:
        values = values + each.draw(rng, len(values))

    seed_variance = sum(each.variance for each in seeds)
    standard_error = float(np.sqrt(image_error**2 + seed_variance))
    freedom = _satterthwaite(standard_error, image_error, draws.groups, seeds)
    wider = float(stats.t.ppf(TAILS[1], freedom) / ndtri(TAILS[1]))

    def widened(ends: tuple[float, float]) -> tuple[float, float]:
        return estimate + wider * (ends[0] - estimate), estimate + wider * (ends[1] - estimate)

    plain = np.quantile(values, TAILS)
    basic = widened((float(2 * estimate - plain[1]), float(2 * estimate - plain[0])))
    found = bca_ends(estimate, values, jackknife)
    bca = None if found is None else widened(found)
    low, high = basic if bca is None or method == "basic" else bca
    return Interval(
        estimate=estimate,
        low=low,
        high=high,
        bias=float(resampled.mean() - estimate),
        standard_error=standard_error,
        method="basic" if bca is None or method == "basic" else "BCa",
        bca=bca,
        basic=basic,
        bootstrap_error=float(bootstrap_error),
        jackknife_error=jackknife_error,
        image_error=image_error,
        seed_error=float(np.sqrt(seed_variance)) if seeds else None,
        degrees_of_freedom=freedom,
    )


@dataclass(frozen=True)
class _Seeds:
    """Training seeds drawn with replacement, on the images as they are.

    The bootstrap of K seeds sees (K - 1) / K of their variance; draws are scaled up for that. Part of the
    scatter between seeds on one set of images is the seeds' own luck with those images, which the resampling
    of images has counted already; it is taken off (in Owen, "The Pigeonhole Bootstrap", Annals of Applied
    Statistics 1, 2007, it stays in, and the interval is wider than needed).

    Attributes:
        deviations: [K] of each seed from the mean.
        scatter: variance of the mean of K seeds by their scatter alone.
        variance: the same without what the images have counted; 0 or more.
    """

    deviations: Floats
    scatter: float
    variance: float

    @classmethod
    def of(cls, part: Floats, draws: Draws) -> _Seeds:
        number = len(part)
        deviations = part - part.mean(axis=0)
        scatter = float((deviations[:, 0] ** 2).sum() / (number - 1) / number)
        resampled = deviations[:, draws.resampled]
        resampled = resampled[:, np.isfinite(resampled).all(axis=0)]
        with_images = float(resampled.var(axis=1).sum() / (number - 1) / number) if resampled.size else 0.0
        return cls(deviations[:, 0], scatter, max(0.0, scatter - with_images))

    def draw(self, rng: np.random.Generator, rows: int) -> Floats:
        number = len(self.deviations)
        drawn = rng.multinomial(number, np.full(number, 1 / number), size=rows) / number
        plain = self.scatter * (number - 1) / number  # variance of the draws as they are
        return np.asarray(
            drawn @ self.deviations * np.sqrt(self.variance / plain) if plain else np.zeros(rows)
        )


def _satterthwaite(error: float, image_error: float, groups: int, seeds: Sequence[_Seeds]) -> float:
    """Degrees of freedom of a sum of variances (Satterthwaite, Biometrics Bulletin 2, 1946)."""
    if error == 0:
        return float(groups - 1)
    uncertain = image_error**4 / (groups - 1)
    uncertain += sum(each.scatter**2 / (len(each.deviations) - 1) for each in seeds)
    total = error**4
    return float(max(1.0, total / uncertain)) if uncertain > 0 else float(groups - 1)


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
