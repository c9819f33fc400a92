"""In which order images are seen: all of them equally often, or those with rare classes more often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sampling:
    """Class-balanced sampling by repeat factors (Gupta et al., arXiv:1908.03195, section 5.1).

    Attributes:
        below: classes shown by a smaller share of the images are rare; None: than the median class.
    """

    below: float | None = None


def repeat_factors(shown: Sequence[np.ndarray], classes: int, below: float | None) -> np.ndarray:
    """How much more often than others each image is to be seen, float64 [images].

    A class c in a share f(c) of the images has the factor r(c) = max(1, sqrt(t / f(c))), an image the
    largest one of its classes, and 1 without any.

    Args:
        shown: of each image, the classes that it shows, each once.
        below: t; None takes the median of f over the classes that are shown at all.
    """
    counts = np.zeros(classes)
    for found in shown:
        counts[found] += 1
    there = counts > 0
    if not there.any():
        return np.ones(len(shown))
    shares = counts / len(shown)
    threshold = float(np.median(shares[there])) if below is None else below
    factors = np.ones(classes)
    factors[there] = np.maximum(1.0, np.sqrt(threshold / shares[there]))
    return np.array([factors[found].max(initial=1.0) for found in shown])


def epoch_order(length: int, seed: Sequence[int], factors: np.ndarray | None = None) -> np.ndarray:
    """The positions of an epoch of ``length`` images, in order.

    Without factors each image comes once. With them an image with the share p of their sum comes ``length``
    times p times, rounded up or down by chance (systematic sampling), so an epoch is as long as without.
    """
    generator = np.random.default_rng(list(seed))
    order = generator.permutation(length)
    if factors is None:
        return order
    wanted = factors[order] / factors.sum() * length
    ends = np.cumsum(wanted)
    ends[-1] = length  # whatever rounding left
    chosen = order[np.searchsorted(ends, np.arange(length) + generator.random(), side="right")]
    return generator.permutation(chosen)
