"""Flat litter: plastic film, crisp packets and paper."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from taco_kd.data.synthetic.colours import Colour, as_rgb, mix, pick, saturated
from taco_kd.data.synthetic.fields import FloatArray, facets, folds, value_noise
from taco_kd.data.synthetic.printing import packaging, written_page
from taco_kd.data.synthetic.sprite import MARGIN_PX, Drawing

_FILMS: tuple[Colour, ...] = (
    (0.93, 0.95, 0.97), (0.93, 0.95, 0.97), (0.70, 0.84, 0.95), (0.72, 0.90, 0.78), (0.14, 0.15, 0.17),
    (0.95, 0.95, 0.93), (0.95, 0.72, 0.40),
)  # fmt: skip
_PAPERS: tuple[Colour, ...] = ((0.96, 0.96, 0.95), (0.95, 0.93, 0.86), (0.88, 0.92, 0.96), (0.96, 0.92, 0.66))


def _filled(points: list[tuple[float, float]], cols: int, rows: int) -> FloatArray:
    """Coverage of a polygon, (rows, cols), 0 or 1; downsampling smooths its edge later."""
    mask = Image.new("L", (cols, rows), 0)
    ImageDraw.Draw(mask).polygon(points, fill=255)
    return np.asarray(mask, dtype=np.float32) * np.float32(1 / 255)


def _cut_corners(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """One coordinate of a closed polygon with every corner cut at a fifth of its sides (Chaikin)."""
    ahead = np.roll(values, -1)
    return np.stack([0.8 * values + 0.2 * ahead, 0.2 * values + 0.8 * ahead], axis=1).reshape(-1)


def _blob(
    rng: np.random.Generator, length_px: float, aspect: float, rough: float
) -> tuple[FloatArray, int, int]:
    """A ragged closed shape `length_px` long; return its coverage, columns and rows."""
    corners = int(rng.integers(11, 20))
    angle = (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) * (2 * math.pi / corners)
    radius = 1.0 - rough * rng.random(corners)
    x, y = radius * np.cos(angle), radius * np.sin(angle) * aspect
    x, y = _cut_corners(x), _cut_corners(y)
    scale = length_px / float(np.ptp(x))
    x, y = (x - x.min()) * scale + MARGIN_PX, (y - y.min()) * scale + MARGIN_PX
    cols, rows = math.ceil(float(x.max())) + MARGIN_PX, math.ceil(float(y.max())) + MARGIN_PX
    return _filled(list(zip(x.tolist(), y.tolist(), strict=True)), cols, rows), cols, rows


def plastic_film(rng: np.random.Generator, length_px: float, toward: tuple[float, float]) -> Drawing:
    """A piece of film or a thin bag: ragged, glossy, half see-through, full of soft folds."""
    cover, cols, rows = _blob(rng, length_px, float(rng.uniform(0.45, 0.95)), 0.45)
    colour = pick(rng, _FILMS, 0.04)
    dark = sum(colour) < 1.0
    flats = facets(rng, cols, rows, int(rng.integers(5, 12)), toward)
    pulled = folds(rng, cols, rows, int(rng.integers(10, 22)), toward)
    veil = value_noise(rng, cols, rows, max(8.0, length_px * 0.25), octaves=2)
    base: FloatArray = np.broadcast_to(as_rgb(colour), (rows, cols, 3))
    if rng.random() < 0.25:  # a printed bag
        base = mix(base, packaging(rng, cols, rows, colour), 0.55)
    rgb = base * (0.88 + 0.12 * flats + 0.24 * pulled)[..., None]
    shine = np.clip(1.3 * (pulled - 0.25), 0.0, 1.0) + np.clip(flats - 0.55, 0.0, 1.0) * 0.6
    rgb = mix(rgb, as_rgb((1.0, 1.0, 1.0)), np.clip(shine * (0.65 if dark else 0.9), 0.0, 0.95))
    clear = 0.9 if dark else float(rng.uniform(0.40, 0.8))
    opacity = np.clip(clear - 0.16 + 0.32 * veil + 0.35 * shine + 0.22 * np.abs(pulled), 0.25, 0.97)
    return Drawing(rgb, cover, opacity, 0.05 * length_px)


def crisp_packet(rng: np.random.Generator, length_px: float, toward: tuple[float, float]) -> Drawing:
    """A crisp packet: loud print on metallic foil, swollen middle, crimped zigzag ends."""
    width = length_px * float(rng.uniform(0.62, 0.80))
    cols, rows = math.ceil(length_px) + 2 * MARGIN_PX, math.ceil(width * 1.06) + 2 * MARGIN_PX
    left, right, top, bottom = (
        float(MARGIN_PX),
        cols - MARGIN_PX,
        MARGIN_PX + 0.03 * width,
        rows - MARGIN_PX - 0.03 * width,
    )
    teeth = int(rng.integers(12, 20))
    depth = length_px * 0.018
    step = (bottom - top) / teeth
    sway = rng.uniform(-0.025, 0.025, 6) * width
    points = [(left + 0.25 * (right - left) * i, top + float(sway[i])) for i in range(1, 4)]
    points += [(right - depth * (k % 2), top + step * k) for k in range(teeth + 1)]
    points += [(right - 0.25 * (right - left) * i, bottom + float(sway[i + 2])) for i in range(1, 4)]
    points += [(left + depth * (k % 2), bottom - step * k) for k in range(teeth + 1)]
    cover = _filled(points, cols, rows)

    u = ((np.arange(cols, dtype=np.float32) - left) / np.float32(right - left))[None, :]
    v = ((np.arange(rows, dtype=np.float32) - top) / np.float32(bottom - top))[:, None] * 2 - 1
    rgb = packaging(rng, cols, rows, saturated(rng))
    flats = facets(rng, cols, rows, int(rng.integers(4, 9)), toward)
    pulled = folds(rng, cols, rows, int(rng.integers(6, 14)), toward)
    crimp = np.clip(np.maximum(0.075 - u, u - 0.925) * 80, 0.0, 1.0)
    swell = np.clip(-(toward[0] * (1 - 2 * u) + toward[1] * -v), -1, 1) * (1 - crimp)
    light = 0.94 + 0.14 * flats + 0.24 * pulled + 0.16 * swell
    light = light + 0.22 * crimp * np.sin(v * np.float32(np.pi * teeth * 1.5))
    rgb = rgb * light[..., None]
    if rng.random() < 0.3:  # torn open: the silver inside shows at one end
        jag = value_noise(rng, cols, rows, max(8.0, width * 0.15), octaves=2)
        inside = np.clip((u - float(rng.uniform(0.72, 0.85)) + 0.10 * (jag - 0.5)) * 60, 0.0, 1.0)
        silver = as_rgb((0.80, 0.81, 0.83)) * (0.85 + 0.25 * flats + 0.3 * pulled + 0.1 * jag)[..., None]
        rgb = mix(rgb, silver, inside)
    glint = np.clip(1.4 * (pulled - 0.3), 0.0, 0.9) * (1 - crimp)
    rgb = mix(rgb, as_rgb((1.0, 1.0, 1.0)), glint)
    return Drawing(rgb.astype(np.float32), cover, 1.0, 0.10 * length_px)


def normal_paper(rng: np.random.Generator, length_px: float, toward: tuple[float, float]) -> Drawing:
    """A sheet of paper: printed and creased, or crumpled into a ball."""
    colour = pick(rng, _PAPERS, 0.02)
    if rng.random() < 0.4:
        cover, cols, rows = _blob(rng, length_px, float(rng.uniform(0.7, 0.95)), 0.22)
        page = mix(
            written_page(rng, cols, rows, colour), np.broadcast_to(as_rgb(colour), (rows, cols, 3)), 0.6
        )
        x = np.linspace(-1, 1, cols, dtype=np.float32)[None, :]
        y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
        light: FloatArray = (
            0.80 + 0.26 * facets(rng, cols, rows, 22, toward) + 0.16 * (x * toward[0] + y * toward[1])
        )
        return Drawing((page * light[..., None]).astype(np.float32), cover, 1.0, 0.28 * length_px)
    return _page(rng, length_px, toward, colour)


def _page(rng: np.random.Generator, length_px: float, toward: tuple[float, float], colour: Colour) -> Drawing:
    """A flat sheet with text along or across it, creased, its corners a little folded in."""
    width = length_px * float(rng.uniform(0.38, 0.78))
    cols, rows = math.ceil(length_px) + 2 * MARGIN_PX, math.ceil(width) + 2 * MARGIN_PX
    bite = rng.uniform(0.0, 0.10, 8) * width
    low, right, bottom = float(MARGIN_PX), cols - MARGIN_PX, rows - MARGIN_PX
    corners = [
        (low + bite[0], low), (cols / 2, low + bite[1] / 2), (right, low + bite[2]),
        (right - bite[3], rows / 2), (right, bottom), (cols / 2, bottom - bite[4] / 2),
        (low + bite[5], bottom - bite[6]), (low, rows / 2),
    ]  # fmt: skip
    cover = _filled([(float(x), float(y)) for x, y in corners], cols, rows)
    if rng.random() < 0.6:  # the lines run across the long side
        page = written_page(rng, rows, cols, colour).transpose(1, 0, 2)
    else:
        page = written_page(rng, cols, rows, colour)
    light = 0.93 + 0.13 * facets(rng, cols, rows, int(rng.integers(3, 9)), toward)
    return Drawing((page * light[..., None]).astype(np.float32), cover, 1.0, 0.04 * length_px)
