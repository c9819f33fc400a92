"""Percentiles of latency samples, and how sure their median is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

P99_NEEDS = 299
"""Fewer samples than this hold their 99th percentile with a probability below 95 % (0.99 ** 299 < 0.05)."""
RESAMPLES = 1000


def percentile_ms(times_ms: Sequence[float], percent: float) -> float:
    """Linear interpolation between the two nearest samples."""
    return float(np.percentile(np.asarray(times_ms), percent))


def p99_ms(times_ms: Sequence[float]) -> float | None:
    """None where there are too few samples to say."""
    return percentile_ms(times_ms, 99) if len(times_ms) >= P99_NEEDS else None


def median_interval_ms(times_ms: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the median.

    Samples taken one after the other resemble each other (clocks, temperature, other programs), so whole
    stretches of about sqrt(n) samples are drawn, round the end: the circular block bootstrap of Politis and
    Romano, 1992. Drawing single samples would make the interval too narrow.
    """
    samples = np.asarray(times_ms)
    n = len(samples)
    length = max(1, math.isqrt(n))
    blocks = math.ceil(n / length)
    rng = np.random.default_rng(seed)
    steps = np.arange(length)
    medians = []
    for _ in range(RESAMPLES):
        starts = rng.integers(n, size=(blocks, 1))
        medians.append(float(np.median(samples[(starts + steps).ravel()[:n] % n])))
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)
