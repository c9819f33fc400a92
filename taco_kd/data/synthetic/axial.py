"""Objects around an axis (bottles, cans, cups, cigarettes): profiles, dents and round shading."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from taco_kd.data.synthetic.fields import FloatArray
from taco_kd.data.synthetic.sprite import MARGIN_PX


class Axial:
    """The silhouette of a lying object: its axis runs along x from `u` = 0 to 1.

    `u` (1, cols) is the place along the axis, `x` and `y` (1, cols), (rows, 1) are pixels from the
    start of the axis and from the axis; `across` (rows, cols) is -1 to 1 from one side to the other.
    """

    def __init__(self, length_px: float, half_width_px: float, points: Sequence[tuple[float, float]]) -> None:
        """`points` are (u, share of the half width), linear in between."""
        self.length_px, self.half_width_px = length_px, half_width_px
        cols = math.ceil(length_px) + 2 * MARGIN_PX
        rows = 2 * math.ceil(half_width_px * 1.15) + 2 * MARGIN_PX
        self.x: FloatArray = (np.arange(cols, dtype=np.float32) + np.float32(0.5 - MARGIN_PX))[None, :]
        self.y: FloatArray = (np.arange(rows, dtype=np.float32) + np.float32(0.5 - rows / 2))[:, None]
        self.u: FloatArray = self.x / np.float32(length_px)
        places, shares = zip(*points, strict=True)
        half = np.interp(self.u[0], places, shares).astype(np.float32)[None, :] * np.float32(half_width_px)
        self.upper: FloatArray = half
        self.lower: FloatArray = half.copy()

    def dent(self, rng: np.random.Generator, count: int, depth: float) -> FloatArray:
        """Press `count` dents of up to `depth` (share of the half width) in; return their shading."""
        shade = np.zeros((self.y.shape[0], self.u.shape[1]), dtype=np.float32)
        side_y = self.y / np.float32(self.half_width_px)
        for _ in range(count):
            centre, width = float(rng.uniform(0.12, 0.7)), float(rng.uniform(0.03, 0.10))
            hollow = np.exp(-(((self.u - np.float32(centre)) / np.float32(width)) ** 2))
            sunk = np.float32(rng.uniform(0.3, 1.0) * depth)
            slope = -hollow * (self.u - np.float32(centre)) / np.float32(width)
            if rng.random() < 0.5:
                self.upper = self.upper * (1 - sunk * hollow)
                near = np.clip(0.6 - side_y, 0.0, 1.0)
            else:
                self.lower = self.lower * (1 - sunk * hollow)
                near = np.clip(0.6 + side_y, 0.0, 1.0)
            shade += np.float32(2.0) * slope * near
        return shade

    def bend(self, sag_px: float) -> None:
        """Curve the axis sideways by `sag_px` at both ends."""
        shift = np.float32(sag_px) * ((2 * self.u - 1) ** 2 - np.float32(0.5))
        self.upper, self.lower = self.upper - shift, self.lower + shift

    @property
    def across(self) -> FloatArray:
        """Place across the object, (rows, cols): -1 at the upper silhouette, 1 at the lower one."""
        half = np.maximum((self.upper + self.lower) * np.float32(0.5), 0.5)
        place: FloatArray = (self.y - (self.lower - self.upper) * np.float32(0.5)) / half
        return np.clip(place, -1.0, 1.0)

    def cover(self, start_px: float = 0.0, end_px: float | None = None) -> FloatArray:
        """Coverage of the silhouette between two places on the axis, antialiased, (rows, cols)."""
        end = self.length_px if end_px is None else end_px
        sides = np.minimum(self.upper + self.y, self.lower - self.y)
        ends = np.minimum(self.x - np.float32(start_px), np.float32(end) - self.x)
        inside: FloatArray = np.minimum(sides, ends) + np.float32(0.5)
        return np.clip(inside, 0.0, 1.0)

    def disc(self, centre_px: float, depth_px: float, radius_px: float) -> FloatArray:
        """Coverage of a round end seen at a slant: an ellipse across the axis, (rows, cols)."""
        reach = np.sqrt(
            ((self.x - np.float32(centre_px)) / np.float32(max(depth_px, 1.0))) ** 2
            + (self.y / np.float32(max(radius_px, 1.0))) ** 2
        )
        inside: FloatArray = (1 - reach) * np.float32(min(depth_px, radius_px)) + np.float32(0.5)
        return np.clip(inside, 0.0, 1.0)

    def band(self, start: float, end: float, soft: float = 0.004) -> FloatArray:
        """1 between two places `u` on the axis, 0 elsewhere, (1, cols)."""
        inside: FloatArray = np.minimum(self.u - start, end - self.u) / np.float32(soft) + np.float32(0.5)
        return np.clip(inside, 0.0, 1.0)


def round_shade(across: FloatArray, toward_y: float, contrast: float) -> FloatArray:
    """Brightness factor of a cylinder, (rows, cols): bright towards the light, dark at the far edge."""
    facing = np.sqrt(np.maximum(1 - across * across, 0.0))
    lit = facing * np.float32(0.75) + across * np.float32(0.55 * toward_y)
    shade: FloatArray = np.float32(1.0 - 0.62 * contrast) + np.float32(contrast) * lit
    return shade


def streak(across: FloatArray, place: float, width: float) -> FloatArray:
    """A highlight along the axis at `place` (-1 to 1 across), (rows, cols) in [0, 1]."""
    bright: FloatArray = np.exp(-(((across - np.float32(place)) / np.float32(width)) ** 2))
    return bright
