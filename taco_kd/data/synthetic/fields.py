"""Random scalar fields: value noise for grounds and films, facets and folds for crumpled sheets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Fields are computed in float32; numpy's stubs lose the width in mixed arithmetic.
FloatArray = NDArray[np.floating[Any]]

# Facets are piecewise flat, so they are computed on a coarse grid and enlarged.
_FACET_GRID = 72
_FOLD_GRID = 112  # folds are smooth, too


def resize_field(field: FloatArray, width: int, height: int) -> FloatArray:
    """Enlarge or shrink a (rows, cols) field to (height, width) with bicubic interpolation."""
    resized = Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.float32)


def value_noise(
    rng: np.random.Generator,
    width: int,
    height: int,
    cell_px: float,
    *,
    octaves: int = 3,
    stretch: float = 1.0,
) -> FloatArray:
    """Return smooth noise of shape (height, width) in [0, 1].

    `cell_px` is the size of the coarsest blobs; each octave halves it at half the strength.
    `stretch` makes the blobs that many times wider than high.
    """
    cols = max(2, math.ceil(width / (cell_px * stretch)) + 1)
    rows = max(2, math.ceil(height / cell_px) + 1)
    field = rng.random((rows, cols), dtype=np.float32)
    for octave in range(1, octaves):
        cols, rows = cols * 2, rows * 2
        field = resize_field(field, cols, rows)
        field = field + np.float32(0.5**octave) * rng.random((rows, cols), dtype=np.float32)
    field = resize_field(field, width, height)
    low, high = float(field.min()), float(field.max())
    scaled: FloatArray = (field - np.float32(low)) * np.float32(1.0 / max(high - low, 1e-6))
    return scaled


def facets(
    rng: np.random.Generator, width: int, height: int, count: int, toward_light: tuple[float, float]
) -> FloatArray:
    """Return the shading of a crumpled sheet, (height, width), about -1 (in shade) to 1 (lit).

    The sheet is the difference of two upper envelopes of random planes: flat faces that meet in sharp
    ridges and valleys, each lit by its slope towards the light.
    """
    n = _FACET_GRID
    axis = np.linspace(-1.0, 1.0, n, dtype=np.float32)
    slope = np.zeros((n, n), dtype=np.float32)
    for sign in (1.0, -1.0):
        angle = rng.random(count) * 2 * math.pi
        steep = 0.4 + 0.6 * rng.random(count)
        a, b = (steep * np.cos(angle)).astype(np.float32), (steep * np.sin(angle)).astype(np.float32)
        # Planes tangent to a bumpy bowl: each one is the highest somewhere.
        px, py = rng.uniform(-1, 1, count), rng.uniform(-1, 1, count)
        a, b = (a + 2.0 * px).astype(np.float32), (b + 2.0 * py).astype(np.float32)
        lift = (-(px**2 + py**2) + 0.15 * rng.random(count)).astype(np.float32)
        planes = a[:, None, None] * axis + b[:, None, None] * axis[:, None] + lift[:, None, None]
        top = planes.argmax(axis=0)
        # The bowl's own slope is taken off again, or every sheet would be lit like a dish.
        tilt_x, tilt_y = a[top] - 2 * axis, b[top] - 2 * axis[:, None]
        slope -= np.float32(sign) * (tilt_x * toward_light[0] + tilt_y * toward_light[1])
    enlarged = np.asarray(
        Image.fromarray(slope).resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32
    )
    shade: FloatArray = np.clip(enlarged * np.float32(0.6), -1.0, 1.0)
    return shade


def folds(
    rng: np.random.Generator, width: int, height: int, count: int, toward_light: tuple[float, float]
) -> FloatArray:
    """Return the shading of `count` soft folds, (height, width), about -1 to 1: lit flank, shaded flank.

    Most folds run along one direction, as film shows them when it was pulled or gathered.
    """
    n = _FOLD_GRID
    axis = np.linspace(-1.0, 1.0, n, dtype=np.float32)
    direction = float(rng.uniform(0, math.pi)) + rng.normal(0, 0.55, count)
    cos, sin = np.cos(direction).astype(np.float32), np.sin(direction).astype(np.float32)
    x0, y0 = rng.uniform(-0.9, 0.9, (2, count, 1, 1)).astype(np.float32)
    reach = rng.uniform(0.25, 0.9, (count, 1, 1)).astype(np.float32)
    width_of = rng.uniform(0.03, 0.11, (count, 1, 1)).astype(np.float32)
    curve = rng.uniform(-0.35, 0.35, (count, 1, 1)).astype(np.float32)
    x, y = axis[None, None, :] - x0, axis[None, :, None] - y0
    along = x * cos[:, None, None] + y * sin[:, None, None]
    beside = (y * cos[:, None, None] - x * sin[:, None, None] + curve * along * along) / width_of
    facing = (cos * toward_light[1] - sin * toward_light[0])[:, None, None]
    # The derivative of a ridge with a round top, fading out towards both ends of the fold.
    shape = beside * np.exp(-beside * beside - (along / reach) ** 2)
    shade: FloatArray = np.float32(2.3) * (shape * (facing + np.copysign(np.float32(0.25), facing))).sum(
        axis=0
    )
    enlarged = Image.fromarray(shade).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(enlarged, dtype=np.float32), -1.2, 1.2)
