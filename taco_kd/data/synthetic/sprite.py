"""From a flat drawing of an object to a sprite: perspective, rotation, antialiased downsampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taco_kd.data.synthetic.fields import FloatArray

SUPERSAMPLE = 2  # drawings are this many times larger than the sprites made of them
MARGIN_PX = 4  # empty border of a drawing, so that interpolation never reads past an outline

_LARGE_PX = 200  # longest side of a drawing from which it is downsampled first


@dataclass(frozen=True)
class Light:
    """Where the light comes from: a unit vector in the image plane (x right, y down) towards it."""

    toward_x: float
    toward_y: float

    def seen_from(self, angle_rad: float) -> tuple[float, float]:
        """Return the direction in the frame of an object that is turned by `angle_rad`."""
        cos, sin = math.cos(angle_rad), math.sin(angle_rad)
        return self.toward_x * cos + self.toward_y * sin, self.toward_y * cos - self.toward_x * sin


@dataclass(frozen=True)
class Drawing:
    """An object drawn flat, its long axis along x, at `SUPERSAMPLE` times its final size.

    `rgb` is (rows, cols, 3) in [0, 1] and set everywhere, also outside the outline; `cover` (rows, cols)
    is 1 inside the outline; `opacity` (rows, cols or a number) is how much of the ground it hides.
    `thickness_px` is how high the object stands, at the drawing's scale; its shadow is that far away.
    """

    rgb: FloatArray
    cover: FloatArray
    opacity: FloatArray | float
    thickness_px: float


@dataclass(frozen=True)
class Sprite:
    """An object ready to paste: `image` RGBA, `cover` the outline's coverage (mode L), same size."""

    image: Image.Image
    cover: Image.Image
    thickness_px: float
    density: float  # how dark a shadow the object throws, 0 to 1


def pose(drawing: Drawing, rng: np.random.Generator, angle_rad: float, tilt: float) -> Sprite:
    """Turn a drawing by `angle_rad`, tilt it by up to `tilt` (share of its size) and downsample it."""
    rows, cols = drawing.cover.shape
    rgba = np.empty((rows, cols, 4), dtype=np.uint8)
    rgba[..., :3] = np.clip(drawing.rgb, 0.0, 1.0) * np.float32(255)
    rgba[..., 3] = np.clip(drawing.cover * drawing.opacity, 0.0, 1.0) * np.float32(255)
    flat = Image.fromarray(rgba)
    solid = isinstance(drawing.opacity, float) and drawing.opacity == 1.0
    outline = None if solid else Image.fromarray((drawing.cover * np.float32(255)).astype(np.uint8))
    # A large drawing is downsampled before it is turned: a quarter of the work, and the slight
    # softness does not show at its size.  Small ones keep their crispness.
    early = max(rows, cols) > _LARGE_PX
    before, after = (SUPERSAMPLE, 1) if early else (1, SUPERSAMPLE)
    size = np.array([cols, rows], dtype=np.float64) / before

    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size
    tilted = corners + rng.uniform(-tilt, tilt, (4, 2)) * size * 0.5
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    turned = tilted @ np.array([[cos, sin], [-sin, cos]])
    turned -= turned.min(axis=0)
    width, height = (math.ceil(side / after) * after for side in turned.max(axis=0).tolist())
    coefficients = _perspective(turned, corners)

    def warp(layer: Image.Image) -> Image.Image:
        kernel = Image.Resampling.BILINEAR
        source = layer.reduce(before) if early else layer
        warped = source.transform((width, height), Image.Transform.PERSPECTIVE, coefficients, kernel)
        return warped if early else warped.reduce(after)

    image = warp(flat)
    cover = image.getchannel("A") if outline is None else warp(outline)
    density = 1.0 if solid else float(rgba[..., 3].sum()) / (255 * max(float(drawing.cover.sum()), 1.0))
    return Sprite(image, cover, drawing.thickness_px / SUPERSAMPLE, density)


def _perspective(source: NDArray[np.float64], target: NDArray[np.float64]) -> list[float]:
    """Return the 8 coefficients of the homography that maps 4 `source` corners to `target`."""
    system = np.zeros((8, 8))
    for i, ((x, y), (u, v)) in enumerate(zip(source, target, strict=True)):
        system[2 * i] = [x, y, 1, 0, 0, 0, -u * x, -u * y]
        system[2 * i + 1] = [0, 0, 0, x, y, 1, -v * x, -v * y]
    return [float(c) for c in np.linalg.solve(system, target.reshape(8))]
