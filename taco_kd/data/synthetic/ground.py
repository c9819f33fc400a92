"""Textured grounds: sand, grass, asphalt, water, a shoreline and paving beside a lawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from taco_kd.data.synthetic.clutter import blades
from taco_kd.data.synthetic.colours import Colour, as_rgb
from taco_kd.data.synthetic.fields import FloatArray, resize_field, value_noise

# Relative weights; `coco.py` maps each name to scene categories of TACO.
GROUNDS: dict[str, float] = {"sand": 3, "grass": 4, "asphalt": 4, "water": 2, "shore": 2, "paving": 3}


def draw_ground(rng: np.random.Generator, name: str, width: int, height: int) -> Image.Image:
    """Paint one of `GROUNDS` as an RGB image; raises `KeyError` for any other name."""
    return _PAINTERS[name](rng, width, height)


def _coloured(tone: FloatArray, stops: Sequence[Colour], shift: FloatArray) -> Image.Image:
    """Map a (rows, cols) tone in [0, 1] to colours along `stops`, all moved by a small RGB `shift`."""
    places = np.linspace(0, 255, len(stops))
    table = np.stack(
        [np.interp(np.arange(256), places, [stop[c] for stop in stops]) for c in range(3)], axis=1
    )
    table = (np.clip(table + shift, 0, 1) * 255).astype(np.uint8)
    index = np.clip(tone * np.float32(255), 0, 255).astype(np.uint8)
    plane = Image.fromarray(index)
    return Image.merge("RGB", [plane.point(table[:, c].tolist()) for c in range(3)])


def _grain(rng: np.random.Generator, width: int, height: int) -> FloatArray:
    """Pixel-fine noise, (height, width) in [-0.5, 0.5)."""
    flat = np.frombuffer(rng.bytes(width * height), dtype=np.uint8).reshape(height, width)
    return flat.astype(np.float32) * np.float32(1 / 256) - np.float32(0.5)


def _shift(rng: np.random.Generator, spread: float) -> FloatArray:
    return rng.uniform(-spread, spread, 3).astype(np.float32)


def _sand(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    dunes = value_noise(rng, width, height, 150, octaves=3)
    lumps = value_noise(rng, width, height, float(rng.uniform(9, 18)), octaves=2)
    tone = 0.25 + 0.35 * dunes + 0.28 * lumps + 0.30 * _grain(rng, width, height)
    if rng.random() < 0.5:  # wind ripples
        y = np.arange(height, dtype=np.float32)[:, None]
        tone = tone + 0.09 * np.sin(y * np.float32(2 * math.pi / rng.uniform(22, 40)) + 9 * dunes)
    stops = ((0.46, 0.37, 0.26), (0.68, 0.57, 0.42), (0.80, 0.71, 0.56), (0.90, 0.84, 0.72))
    return _coloured(tone, stops, _shift(rng, 0.04))


def _grass(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    patches = value_noise(rng, width, height, 120, octaves=3)
    tufts = value_noise(rng, width, height, 14, octaves=2, stretch=0.5)
    tone = 0.42 * patches + 0.42 * tufts + 0.22 * _grain(rng, width, height) + 0.05
    stops = ((0.12, 0.18, 0.06), (0.26, 0.37, 0.12), (0.42, 0.54, 0.20), (0.62, 0.68, 0.34))
    image = _coloured(tone, stops, _shift(rng, 0.03))
    count = width * height // 420
    roots = np.stack([rng.uniform(0, width, count), np.sort(rng.uniform(0, height * 1.06, count))], axis=1)
    blades(rng, ImageDraw.Draw(image), roots, 0.05 * height)
    return image


def _asphalt(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    stains = value_noise(rng, width, height, 170, octaves=3)
    gravel = value_noise(rng, width, height, float(rng.uniform(3.5, 6.0)), octaves=1)
    speckle = np.clip((gravel - np.float32(0.66)) * 4, 0, 1)
    tone = 0.22 + 0.24 * stains + 0.22 * gravel + 0.30 * speckle + 0.26 * _grain(rng, width, height)
    image = _coloured(
        tone,
        ((0.13, 0.13, 0.14), (0.34, 0.34, 0.35), (0.55, 0.55, 0.54), (0.80, 0.79, 0.76)),
        _shift(rng, 0.03),
    )
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 3))):  # cracks
        x, y, heading = (
            float(rng.uniform(0, width)),
            float(rng.uniform(0, height)),
            float(rng.uniform(0, 6.28)),
        )
        path = [(x, y)]
        for _ in range(14):
            heading += float(rng.normal(0, 0.45))
            x, y = x + 22 * math.cos(heading), y + 22 * math.sin(heading)
            path.append((x, y))
        draw.line(path, fill=(38, 37, 38), width=int(rng.integers(1, 4)), joint="curve")
    return image


def _water(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    deep = value_noise(rng, width, height, 160, octaves=2)
    waves = value_noise(rng, width, height, float(rng.uniform(14, 26)), octaves=3, stretch=3.5)
    crest = np.clip(1 - np.abs(waves - np.float32(0.55)) * 7, 0, 1)
    tone = 0.12 + 0.30 * deep + 0.30 * waves + 0.34 * crest * crest + 0.03 * _grain(rng, width, height)
    blue = ((0.05, 0.14, 0.20), (0.12, 0.30, 0.38), (0.30, 0.50, 0.56), (0.82, 0.90, 0.92))
    murky = ((0.10, 0.13, 0.08), (0.24, 0.28, 0.18), (0.42, 0.46, 0.36), (0.86, 0.88, 0.84))
    return _coloured(tone, blue if rng.random() < 0.6 else murky, _shift(rng, 0.03))


def _border(rng: np.random.Generator, width: int, height: int, wave: float) -> FloatArray:
    """Signed distance in pixels, (height, width), from a slanted border; `wave` makes it wander."""
    angle = float(rng.uniform(0, 2 * math.pi))
    x = (np.arange(width, dtype=np.float32) - np.float32(width / 2))[None, :]
    y = (np.arange(height, dtype=np.float32) - np.float32(height / 2))[:, None]
    offset = float(rng.uniform(-0.22, 0.22)) * height
    distance = x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle)) - np.float32(offset)
    if wave > 0:
        distance = distance + np.float32(wave) * (
            value_noise(rng, width, height, 110, octaves=3) - np.float32(0.5)
        )
    return distance


def _mask(values: FloatArray) -> Image.Image:
    return Image.fromarray((np.clip(values, 0, 1) * np.float32(255)).astype(np.uint8))


def _shore(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    sand, water = _sand(rng, width, height), _water(rng, width, height)
    distance = _border(rng, width, height, 130)
    wet = Image.blend(sand, Image.new("RGB", sand.size, (70, 60, 48)), 0.42)
    sand.paste(wet, mask=_mask((distance + 45) / 30))
    sand.paste(water, mask=_mask(distance / 26 + 0.2))
    foam = np.exp(-((distance / 5) ** 2)) * (0.55 + 0.9 * _grain(rng, width, height))
    sand.paste((238, 240, 236), mask=_mask(foam))
    return sand


def _tiles(rng: np.random.Generator, width: int, height: int, slab_px: float) -> FloatArray:
    """Tone of turned square slabs, (height, width): each a little lighter or darker, dark joints."""
    turn = float(rng.uniform(-0.5, 0.5))
    cos, sin = np.float32(math.cos(turn) / slab_px), np.float32(math.sin(turn) / slab_px)
    # Half the resolution does: the joints are a few pixels wide and soft.
    x = np.arange(0, width, 2, dtype=np.float32)[None, :]
    y = np.arange(0, height, 2, dtype=np.float32)[:, None]
    a, b = x * cos + y * sin + np.float32(20), y * cos - x * sin + np.float32(20)
    row, column = b.astype(np.int32), a.astype(np.int32)
    tints = rng.uniform(-0.06, 0.06, (41, 41)).astype(np.float32)
    across, along = np.abs(a - column - np.float32(0.5)), np.abs(b - row - np.float32(0.5))
    gap_px = (np.float32(0.5) - np.maximum(across, along)) * np.float32(slab_px)
    joint = np.clip(1 - (gap_px - np.float32(1.2)) / np.float32(1.6), 0, 1)
    return resize_field(tints[row % 41, column % 41] - np.float32(0.36) * joint, width, height)


def _paving(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Concrete slabs with joints, often with a lawn along one side."""
    tiles = _tiles(rng, width, height, slab_px=float(rng.uniform(90, 190)))
    stains = value_noise(rng, width, height, 130, octaves=4)
    tone = 0.38 + 0.28 * stains + 0.20 * _grain(rng, width, height) + tiles
    warm = rng.random() < 0.4
    stops = ((0.20, 0.19, 0.17), (0.50, 0.48, 0.45), (0.70, 0.68, 0.64), (0.88, 0.86, 0.82))
    shift = _shift(rng, 0.03) + (as_rgb((0.09, 0.02, -0.03)) if warm else np.float32(0))
    image = _coloured(tone, stops, shift)
    if rng.random() < 0.5:
        lawn = _grass(rng, width, height)
        distance = _border(rng, width, height, 26) - np.float32(0.18 * height)
        image.paste((44, 42, 34), mask=_mask(np.exp(-((distance / 7) ** 2)) * 0.7))
        image.paste(lawn, mask=_mask(distance / 5))
    return image


_PAINTERS: dict[str, Callable[[np.random.Generator, int, int], Image.Image]] = {
    "sand": _sand,
    "grass": _grass,
    "asphalt": _asphalt,
    "water": _water,
    "shore": _shore,
    "paving": _paving,
}
