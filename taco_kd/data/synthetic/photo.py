"""Mild photographic effects: exposure, colour cast, contrast, vignetting, blur and sensor noise."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from taco_kd.data.synthetic.sprite import Light

_NORMAL_QUANTILES = np.array([NormalDist().inv_cdf((k + 0.5) / 256) for k in range(256)])


def photograph(rng: np.random.Generator, image: Image.Image, light: Light) -> Image.Image:
    """Return `image` (RGB) as a hand-held camera under `light` would have taken it, same size."""
    image = ImageChops.multiply(image, _falloff(rng, image.size, light))
    image = image.point(_tone_table(rng, _mean_level(image)))
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 0.9))))
    return _noisy(rng, image, strength=float(rng.uniform(1.5, 5.0)))


def _falloff(rng: np.random.Generator, size: tuple[int, int], light: Light) -> Image.Image:
    """A soft map of brightness: darker corners and a gradient away from the light."""
    coarse = 32  # smooth enough to be enlarged
    axis = np.linspace(-1, 1, coarse)
    x, y = axis[None, :], axis[:, None]
    vignette = 1 - float(rng.uniform(0.0, 0.28)) * (x * x + y * y) / 2
    gradient = 1 + float(rng.uniform(0.0, 0.12)) * (x * light.toward_x + y * light.toward_y - 1)
    levels = (np.clip(vignette * gradient, 0, 1) * 255).astype(np.uint8)
    plane = Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC)
    return Image.merge("RGB", [plane] * 3)


def _mean_level(image: Image.Image) -> float:
    """Mean brightness of the image, 0 to 1."""
    return float(np.asarray(image.reduce(16).convert("L")).mean()) / 255


def _tone_table(rng: np.random.Generator, mean_level: float) -> list[int]:
    """Lookup table of 3 x 256 entries: exposure, contrast and a warm or cold cast."""
    # Like a camera's automatic exposure: most of the way to a middle brightness, give or take.
    target = 0.55 * math.exp(float(rng.normal(0.0, 0.14)))
    gain = (target / max(mean_level, 0.1)) ** 0.65
    contrast = float(rng.uniform(0.88, 1.12))
    warmth = float(rng.normal(0, 0.035))
    level = np.arange(256) / 255
    table: list[int] = []
    for cast in (1 + warmth, 1.0, 1 - warmth):
        curve = 0.5 + (level * gain * cast - 0.5) * contrast
        table += np.clip(curve * 255 + 0.5, 0, 255).astype(int).tolist()
    return table


def _noisy(rng: np.random.Generator, image: Image.Image, strength: float) -> Image.Image:
    """Add normal sensor noise with a standard deviation of about `strength` grey levels."""
    pixels = np.asarray(image).astype(np.int16)
    # One random byte per value through the quantiles of the normal distribution: drawing normals is
    # ten times slower.
    quantiles = np.round(_NORMAL_QUANTILES * strength).astype(np.int16)
    pixels += quantiles[np.frombuffer(rng.bytes(pixels.size), dtype=np.uint8)].reshape(pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))
