"""How sure a difference in AP is: paired bootstrap intervals and a swap test over images.

Intervals: B. Efron, "Better Bootstrap Confidence Intervals", JASA 82 (1987), BCa with the acceleration from
the jackknife; basic ("reverse percentile") intervals where BCa cannot be had. The plain percentile interval
is not offered: a resample that loses a rare class moves AP upwards, and the interval with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri

from taco_kd.errors import DataError, UsageError
from taco_kd.evaluate.matching import ClassMatches, Floats, Ints, Matches
from taco_kd.progress import Tick

CONFIDENCE = 0.95
BATCH = 64
"""Weightings evaluated between two ticks of the progress bar."""


@dataclass(frozen=True)
class Interval:
    """An estimate in AP (0..1; a difference in -1..1) with its 95 % bootstrap interval over images.

    Attributes:
        estimate: on the images as they are.
        low: lower end.
        high: upper end.
        bias: mean of the resamples minus the estimate.
        standard_error: standard deviation of the resamples.
        method: ``basic`` where BCa degenerates: no spread, or an end beyond what the resamples resolve.
    """

    estimate: float
    low: float
    high: float
    bias: float
    standard_error: float
    method: Literal["BCa", "basic"]


@dataclass(frozen=True)
class PairedInterval:
    """The difference ``b - a`` of two detectors on the same images, and each of them alone."""

    difference: Interval
    a: Interval
    b: Interval
    images: int
    resamples: int
    seed: int


def bootstrap_paired(
    a: Matches, b: Matches, *, resamples: int = 1000, seed: int = 0, on_progress: Tick | None = None
) -> PairedInterval:
    """Resample the images, the same ones for both detectors, and take the spread of AP.

    Raises:
        UsageError: fewer than 100 resamples; they could not tell a 95 % interval.
        DataError: the detectors saw different images or classes, fewer than 2 images, or no boxes.
    """
    _require_pair(a, b)
    if resamples < 100:
        raise UsageError(f"resamples = {resamples}: a 95 % interval needs at least 100")
    images = len(a.image_ids)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=resamples)
    left_out = np.ones((images, images), dtype=np.int64) - np.eye(images, dtype=np.int64)
    weights = np.concatenate([np.ones((1, images), dtype=np.int64), drawn, left_out])
    both = _in_batches(lambda w: np.stack([a.ap(w), b.ap(w)]), weights, on_progress, "bootstrap")

    def interval(values: Floats) -> Interval:
        return _interval(float(values[0]), values[1 : 1 + resamples], values[1 + resamples :])

    return PairedInterval(
        interval(both[1] - both[0]), interval(both[0]), interval(both[1]), images, resamples, seed
    )


def swap_test(
    a: Matches, b: Matches, *, swaps: int = 1000, seed: int = 0, on_progress: Tick | None = None
) -> float:
    """Two-sided p-value of the difference in AP, by exchanging the detectors' outputs image by image.

    If the detectors were equally good, it would not matter which of them produced the output of an image.
    AP is computed anew on the detections of each mixture, since it ranks detections across images. The
    smallest possible value is 1 / (swaps + 1).

    Raises:
        DataError: the detectors saw different images or classes, fewer than 2 images, or no boxes.
    """
    _require_pair(a, b)
    mixed = _interleave(a, b)
    rng = np.random.default_rng(seed)
    swapped = rng.integers(0, 2, size=(swaps, len(a.image_ids)))
    swapped = np.concatenate([np.zeros((1, len(a.image_ids)), dtype=np.int64), swapped])

    def difference(swapped: Ints) -> Floats:
        from_a = np.stack([1 - swapped, swapped], axis=2).reshape(len(swapped), -1)
        return (mixed.ap(1 - from_a) - mixed.ap(from_a))[None]

    differences = np.abs(_in_batches(difference, swapped, on_progress, "swap test")[0])
    as_large = np.count_nonzero(differences[1:] >= differences[0] - 1e-12)
    return float((1 + as_large) / (1 + swaps))


def _interleave(a: Matches, b: Matches) -> Matches:
    """Both detectors' matches as one, where image i has index 2i with a's output and 2i + 1 with b's."""
    classes = []
    for one, other in zip(a.classes, b.classes, strict=True):
        image_index = np.concatenate([2 * one.image_index, 2 * other.image_index + 1])
        order = np.argsort(image_index, kind="stable")  # stable: keeps the order inside an image
        classes.append(
            ClassMatches.sort(
                np.concatenate([one.scores, other.scores])[order],
                image_index[order],
                np.concatenate([one.hit, other.hit], axis=1)[:, order],
                np.concatenate([one.ignored, other.ignored], axis=1)[:, order],
                np.repeat(one.boxes, 2),
            )
        )
    return Matches(tuple(np.repeat(a.image_ids, 2).tolist()), a.class_names, tuple(classes))


def _interval(estimate: float, resampled: Floats, jackknife: Floats) -> Interval:
    resampled = resampled[np.isfinite(resampled)]  # a resample may hold no box at all
    if not len(resampled):
        raise DataError("no resample of the images holds a box: there is nothing to estimate")
    ends = _bca_quantiles(estimate, resampled, jackknife[np.isfinite(jackknife)])
    if ends is not None:
        low, high = np.quantile(resampled, ends)
        method: Literal["BCa", "basic"] = "BCa"
    else:
        tail = (1 - CONFIDENCE) / 2
        low, high = 2 * estimate - np.quantile(resampled, [1 - tail, tail])
        method = "basic"
    return Interval(
        estimate=estimate,
        low=float(low),
        high=float(high),
        bias=float(resampled.mean() - estimate),
        standard_error=float(resampled.std(ddof=1)) if len(resampled) > 1 else 0.0,
        method=method,
    )


def _bca_quantiles(estimate: float, resampled: Floats, jackknife: Floats) -> tuple[float, float] | None:
    """Which quantiles of the resamples bound the BCa interval; None where the method breaks down."""
    below = np.mean(resampled < estimate - 1e-12) + 0.5 * np.mean(np.abs(resampled - estimate) <= 1e-12)
    influence = jackknife.mean() - jackknife if len(jackknife) else np.zeros(0)
    spread = float((influence**2).sum())
    if not 0 < below < 1 or spread <= 1e-24:
        return None
    bias_z = float(ndtri(below))
    acceleration = float((influence**3).sum()) / (6 * spread**1.5)
    ends = []
    for tail in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2):
        z = bias_z + float(ndtri(tail))
        if 1 - acceleration * z <= 0:
            return None
        ends.append(float(ndtr(bias_z + z / (1 - acceleration * z))))
    resolution = 1 / len(resampled)
    if ends[0] < resolution or ends[1] > 1 - resolution:
        return None
    return ends[0], ends[1]


def _in_batches(compute: Callable[[Ints], Floats], rows: Ints, on_progress: Tick | None, note: str) -> Floats:
    """``compute`` on slices of ``rows``, joined along the last axis."""
    parts = []
    for start in range(0, len(rows), BATCH):
        parts.append(compute(rows[start : start + BATCH]))
        if on_progress is not None:
            on_progress(min(start + BATCH, len(rows)), len(rows), note)
    return np.concatenate(parts, axis=-1)


def _require_pair(a: Matches, b: Matches) -> None:
    if a.image_ids != b.image_ids or a.class_names != b.class_names:
        raise DataError("the two detectors were not matched to the same images and classes")
    if len(a.image_ids) < 2:
        raise DataError(f"{len(a.image_ids)} image: a comparison needs at least 2")
    if not any(one.boxes.any() for one in a.classes):
        raise DataError("the ground truth holds no boxes: average precision is not defined")
