"""Harmless things that lie about and are not litter: pebbles, leaves, twigs, blades of grass."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from taco_kd.data.synthetic.colours import Colour, pick, to_bytes
from taco_kd.data.synthetic.sprite import SUPERSAMPLE, Light, Sprite

_LEAVES: tuple[Colour, ...] = ((0.52, 0.33, 0.12), (0.70, 0.48, 0.14), (0.36, 0.42, 0.14), (0.60, 0.22, 0.10),
                               (0.42, 0.28, 0.16))  # fmt: skip
_STONES: tuple[Colour, ...] = ((0.55, 0.53, 0.50), (0.70, 0.66, 0.60), (0.40, 0.39, 0.40), (0.62, 0.55, 0.47))
_BARK: tuple[Colour, ...] = ((0.30, 0.21, 0.13), (0.40, 0.30, 0.20), (0.24, 0.18, 0.13))


def _shaded(colour: Colour, factor: float) -> tuple[int, int, int]:
    return to_bytes(
        (min(colour[0] * factor, 1.0), min(colour[1] * factor, 1.0), min(colour[2] * factor, 1.0))
    )


def _sprite(image: Image.Image, thickness_px: float) -> Sprite:
    small = image.reduce(SUPERSAMPLE)
    return Sprite(small, small.getchannel("A"), thickness_px, 1.0)


def leaf(rng: np.random.Generator, length_px: float) -> Sprite:
    """A fallen leaf, pointed at both ends, with its midrib and veins."""
    side = int(length_px * SUPERSAMPLE) + 8
    length, width = length_px * SUPERSAMPLE, length_px * SUPERSAMPLE * float(rng.uniform(0.18, 0.3))
    angle = float(rng.uniform(0, 2 * math.pi))
    curve = float(rng.uniform(-0.15, 0.15))
    cos, sin = math.cos(angle), math.sin(angle)

    def place(u: float, v: float) -> tuple[float, float]:
        x, y = (u - 0.5) * length, v * width + curve * length * ((2 * u - 1) ** 2 - 0.5)
        return side / 2 + x * cos - y * sin, side / 2 + x * sin + y * cos

    colour = pick(rng, _LEAVES, 0.08)
    image = Image.new("RGBA", (side, side), (*_shaded(colour, 0.9), 0))
    draw = ImageDraw.Draw(image)
    along = [i / 12 for i in range(13)]
    half = [math.sin(math.pi * u**0.8) ** 0.8 if 0 < u < 1 else 0.0 for u in along]
    rib = [place(u, 0.0) for u in along]
    upper = [place(u, h) for u, h in zip(along, half, strict=True)]
    lower = [place(u, -h) for u, h in zip(along, half, strict=True)]
    draw.polygon(upper + rib[::-1], fill=(*_shaded(colour, 0.86), 255))
    draw.polygon(lower + rib[::-1], fill=(*_shaded(colour, 1.08), 255))
    draw.line(rib, fill=(*_shaded(colour, 0.6), 255), width=2)
    for i in range(2, 11, 2):
        for sign in (-1, 1):
            tip = place(min(along[i] + 0.12, 1.0), sign * half[i] * 0.75)
            draw.line([rib[i], tip], fill=(*_shaded(colour, 0.75), 255), width=1)
    return _sprite(image, 0.03 * length_px)


def pebble(rng: np.random.Generator, length_px: float, light: Light) -> Sprite:
    """A rounded stone, lit from one side."""
    side = int(length_px * SUPERSAMPLE) + 6
    angle = np.arange(14) * (2 * math.pi / 14)
    radius = (side / 2 - 3) * (1 - 0.18 * rng.random(14))
    squash = float(rng.uniform(0.6, 0.95))
    x, y = radius * np.cos(angle), radius * np.sin(angle) * squash
    colour = pick(rng, _STONES, 0.06)
    image = Image.new("RGBA", (side, side), (*_shaded(colour, 0.7), 0))
    draw = ImageDraw.Draw(image)
    for layer in range(5):  # from the dark outline to the lit spot
        shrink, shift = 1 - 0.17 * layer, 0.055 * layer * side
        points = zip(
            (side / 2 + x * shrink + light.toward_x * shift).tolist(),
            (side / 2 + y * shrink + light.toward_y * shift).tolist(),
            strict=True,
        )
        draw.polygon(list(points), fill=(*_shaded(colour, 0.72 + 0.11 * layer), 255))
    return _sprite(image, 0.25 * length_px)


def twig(rng: np.random.Generator, length_px: float) -> Sprite:
    """A thin crooked twig with a side branch."""
    side = int(length_px * SUPERSAMPLE) + 12
    angle = float(rng.uniform(0, 2 * math.pi))
    steps = np.linspace(-0.5, 0.5, 6) * (side - 12)
    sway = rng.uniform(-0.04, 0.04, 6) * side
    x = side / 2 + steps * math.cos(angle) - sway * math.sin(angle)
    y = side / 2 + steps * math.sin(angle) + sway * math.cos(angle)
    colour = pick(rng, _BARK, 0.05)
    thick = max(2, int(side * float(rng.uniform(0.015, 0.035))))
    image = Image.new("RGBA", (side, side), (*_shaded(colour, 1.0), 0))
    draw = ImageDraw.Draw(image)
    spine = list(zip(x.tolist(), y.tolist(), strict=True))
    draw.line(spine, fill=(*_shaded(colour, 0.8), 255), width=thick + 1, joint="curve")
    draw.line(spine, fill=(*_shaded(colour, 1.25), 255), width=max(1, thick - 2), joint="curve")
    bough = angle + float(rng.choice([-0.7, 0.7]))
    reach = 0.2 * side
    end = (spine[3][0] + reach * math.cos(bough), spine[3][1] + reach * math.sin(bough))
    draw.line([spine[3], end], fill=(*_shaded(colour, 0.9), 255), width=max(1, thick - 1))
    return _sprite(image, 0.03 * length_px)


def blades(rng: np.random.Generator, draw: ImageDraw.ImageDraw, roots: np.ndarray, height_px: float) -> None:
    """Draw a bent blade of grass from each of `roots` (count, 2), about `height_px` tall."""
    count = len(roots)
    lean, tall = rng.normal(0, 0.35, count), height_px * rng.uniform(0.5, 1.2, count)
    tone, warm = rng.uniform(0.45, 1.15, count), rng.uniform(0.75, 1.25, count)
    thick = rng.integers(1, 4, count)
    for i in range(count):
        x, y = float(roots[i, 0]), float(roots[i, 1])
        bent, reach = x + float(lean[i] * tall[i]), y - float(tall[i])
        middle = (x + 0.3 * (bent - x), y - 0.55 * (y - reach))
        fill = (int(98 * tone[i] * warm[i]), int(146 * tone[i]), int(56 * tone[i]))
        draw.line([(x, y), middle, (bent, reach)], fill=fill, width=int(thick[i]))
