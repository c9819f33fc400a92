"""Whether two images whose hashes are close show the same: a comparison of small thumbnails.

A 64-bit hash alone cannot decide: unrelated photographs come within a few bits of each other by chance, the
more so the more there are. The pixels decide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_CELL_DIFFERENCE = 20.0
"""Largest difference of any thumbnail cell, in grey levels of 255, after brightness and contrast are matched.
Re-encoded, brightened and resized copies of photographs stay below 13; an object that is only in one of two
shots of a scene shows in at least one cell."""
MAX_COLOUR_SHIFT = 32.0
"""Largest difference of the mean of a colour channel: flat images of different colours are different."""
_CONTRAST_RANGE = (0.8, 1.25)


def same_picture(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[bool, float]:
    """Whether two thumbnails [S, S, 3] show the same, and their :func:`pixel_difference`."""
    difference = pixel_difference(a, b)
    return difference <= MAX_CELL_DIFFERENCE, difference


def pixel_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Largest cell difference of two [S, S, 3] thumbnails in grey levels, 255.0 when their colours differ.

    A cell is compared by the mean over its three channels, after the mean of each channel and the overall
    contrast of ``a`` have been matched to those of ``b``. Symmetric.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    x_mean, y_mean = x.mean(axis=(0, 1)), y.mean(axis=(0, 1))
    if np.abs(x_mean - y_mean).max() > MAX_COLOUR_SHIFT:
        return 255.0
    x, y = x - x_mean, y - y_mean
    # The square root puts half of the contrast change on each side.
    contrast = np.sqrt(np.clip((y.std() + 1e-9) / (x.std() + 1e-9), *_CONTRAST_RANGE))
    return float(np.abs(x * contrast - y / contrast).mean(axis=2).max())
