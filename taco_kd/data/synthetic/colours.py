"""Colours of litter and print, as float RGB in [0, 1]."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

from taco_kd.data.synthetic.fields import FloatArray

Colour = tuple[float, float, float]

PRINT_INKS: tuple[Colour, ...] = (
    (0.80, 0.10, 0.12), (0.08, 0.25, 0.62), (0.05, 0.50, 0.25), (0.95, 0.75, 0.10), (0.93, 0.42, 0.08),
    (0.45, 0.15, 0.55), (0.10, 0.60, 0.75), (0.92, 0.30, 0.50), (0.10, 0.10, 0.12),
)  # fmt: skip


def as_rgb(colour: Colour) -> FloatArray:
    """Return the colour as a float32 vector of length 3, ready to broadcast over an image."""
    return np.array(colour, dtype=np.float32)


def pick(rng: np.random.Generator, colours: Sequence[Colour], jitter: float = 0.05) -> Colour:
    """Pick one of `colours` and move each channel by at most `jitter`."""
    red, green, blue = colours[int(rng.integers(len(colours)))]
    moved = np.clip(np.array([red, green, blue]) + rng.uniform(-jitter, jitter, 3), 0.0, 1.0)
    return float(moved[0]), float(moved[1]), float(moved[2])


def saturated(rng: np.random.Generator) -> Colour:
    """Return a random strong packaging colour."""
    return colorsys.hsv_to_rgb(
        float(rng.random()), float(rng.uniform(0.6, 0.95)), float(rng.uniform(0.5, 0.95))
    )


def mix(first: FloatArray, second: FloatArray, share: FloatArray | float) -> FloatArray:
    """Blend two RGB arrays; a (rows, cols) `share` of `second` is applied to all three channels."""
    weight = share[..., None] if isinstance(share, np.ndarray) else np.float32(share)
    return first + (second - first) * weight


def to_bytes(colour: Colour) -> tuple[int, int, int]:
    """Return the colour as 8-bit RGB, as Pillow's drawing functions want it."""
    return int(colour[0] * 255), int(colour[1] * 255), int(colour[2] * 255)
