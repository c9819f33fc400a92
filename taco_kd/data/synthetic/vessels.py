"""Drink cans, drink cartons and disposable cups."""

from __future__ import annotations

import numpy as np

from taco_kd.data.synthetic.axial import Axial, round_shade, streak
from taco_kd.data.synthetic.colours import PRINT_INKS, Colour, as_rgb, mix, pick, saturated
from taco_kd.data.synthetic.fields import facets
from taco_kd.data.synthetic.printing import packaging
from taco_kd.data.synthetic.sprite import Drawing

_METAL = (0.78, 0.79, 0.81)
_CUPS: tuple[Colour, ...] = ((0.95, 0.95, 0.95), (0.93, 0.93, 0.92), (0.80, 0.10, 0.12), (0.12, 0.30, 0.70))
_CARTONS: tuple[Colour, ...] = (
    (0.95, 0.95, 0.94), (0.97, 0.80, 0.25), (0.30, 0.62, 0.25), (0.20, 0.45, 0.80), (0.93, 0.50, 0.12),
    (0.72, 0.20, 0.45),
)  # fmt: skip


def drink_can(rng: np.random.Generator, length_px: float, toward: tuple[float, float]) -> Drawing:
    """An aluminium can with printed wall, silver rims and its lid at one end; sometimes crushed."""
    half = length_px * float(rng.uniform(0.24, 0.29))
    depth = half * float(rng.uniform(0.10, 0.32))  # half the lid's visible depth
    lid_at = length_px - depth
    end = lid_at / length_px
    body = Axial(
        length_px, half, [(0, 0.78), (0.03, 0.82), (0.075, 1), (end - 0.09, 1), (end - 0.03, 0.87), (1, 0.87)]
    )
    crushed = rng.random() < 0.45
    dents = body.dent(rng, int(rng.integers(2, 5)) if crushed else int(rng.integers(0, 2)), 0.40)
    across = body.across
    rows, cols = across.shape
    if crushed:
        dents = dents + 0.35 * facets(rng, cols, rows, 7, toward)
    ground = saturated(rng) if rng.random() < 0.8 else pick(rng, ((0.94, 0.94, 0.94), _METAL))
    rgb = packaging(rng, cols, rows, ground)
    metal = as_rgb(_METAL)
    rims = np.broadcast_to(1 - body.band(0.045, end - 0.05), (rows, cols))
    rgb = mix(rgb, np.broadcast_to(metal, rgb.shape), rims)
    rgb = rgb * (round_shade(across, toward[1], 0.85) + 0.30 * dents)[..., None]
    gloss = 0.55 * streak(across, 0.5 * toward[1], 0.12) + 0.25 * streak(across, -0.7 * toward[1], 0.07)
    rgb = mix(rgb, as_rgb((1.0, 1.0, 1.0)), gloss.astype(np.float32))

    radius = 0.87 * half
    lid = body.disc(lid_at, depth, radius)
    inner = body.disc(lid_at, depth * 0.82, radius * 0.86)
    lid_light = 0.95 + 0.12 * toward[0] + 0.2 * (body.y / np.float32(half)) * np.float32(toward[1])
    rgb = mix(rgb, np.broadcast_to(metal * np.float32(1.15), rgb.shape), lid)
    rgb = mix(rgb, metal * (lid_light * 0.82 * (across * 0 + 1))[..., None], inner)
    hole = body.disc(lid_at + 0.25 * depth, depth * 0.36, radius * 0.26) * np.float32(0.85)
    rgb = mix(rgb, np.broadcast_to(as_rgb((0.08, 0.08, 0.09)), rgb.shape), hole)
    tab = body.disc(lid_at - 0.30 * depth, depth * 0.30, radius * 0.22) * np.float32(0.8)
    rgb = mix(rgb, np.broadcast_to(as_rgb((0.93, 0.93, 0.95)), rgb.shape), tab)
    cover = np.maximum(body.cover(0.0, lid_at), lid)
    return Drawing(rgb.astype(np.float32), cover.astype(np.float32), 1.0, 0.9 * half)


def drink_carton(rng: np.random.Generator, length_px: float, toward: tuple[float, float]) -> Drawing:
    """A milk or juice carton: two printed faces that meet in an edge, and a gable or a flat top."""
    half = length_px * float(rng.uniform(0.24, 0.32))
    gable = rng.random() < 0.6
    top = 0.74 if gable else 0.97
    points = (
        [(0, 1.0), (top, 1.0), (0.90, 0.72), (0.905, 0.80), (1, 0.80)] if gable else [(0, 1.0), (1, 0.98)]
    )
    body = Axial(length_px, half, points)
    dents = body.dent(rng, int(rng.integers(0, 3)), 0.18)
    across = body.across
    rows, cols = across.shape
    side = 1.0 if rng.random() < 0.5 else -1.0  # on which side the second face shows
    crease = float(rng.uniform(0.15, 0.55)) * side
    ground = pick(rng, _CARTONS)
    rgb = packaging(rng, cols, rows, ground)
    narrow = np.clip((across - crease) * side * np.float32(half) + 0.5, 0.0, 1.0)
    rgb = mix(rgb, 0.5 * rgb + 0.5 * as_rgb(ground), narrow)
    side_light = 0.72 + 0.22 * toward[1] * side
    face_light = 0.98 - 0.06 * toward[1] * side
    light = face_light + (side_light - face_light) * narrow + 0.20 * dents
    light = light + 0.10 * facets(rng, cols, rows, 5, toward)
    light = light + 0.25 * np.exp(-(((across - crease) * np.float32(half / 3)) ** 2))
    if gable:
        slant = np.broadcast_to(body.band(top, 0.90), (rows, cols))
        fold = np.clip(1.0 - np.abs(np.abs(across) - (0.9 - body.u) * 4) * 10, 0.0, 1.0) * slant
        light = light * (1 + (0.14 * toward[0] - 0.06) * slant) - 0.20 * fold
        seam = np.broadcast_to(body.band(0.905, 1.1), (rows, cols))
        rgb = mix(rgb, np.broadcast_to(as_rgb((0.94, 0.94, 0.92)), rgb.shape), seam)
        light = light - 0.35 * np.broadcast_to(body.band(0.895, 0.91), (rows, cols))
        if rng.random() < 0.5:
            lid = body.disc(0.82 * length_px, 0.045 * length_px, 0.045 * length_px * 1.1)
            rgb = mix(rgb, np.broadcast_to(as_rgb(pick(rng, PRINT_INKS)), rgb.shape), lid)
    else:
        flap = np.broadcast_to(body.band(0.90, 1.1), (rows, cols))
        light = light - 0.16 * flap
        hole = body.disc(0.95 * length_px, 0.02 * length_px, 0.02 * length_px)
        rgb = mix(rgb, np.broadcast_to(as_rgb((0.85, 0.87, 0.88)), rgb.shape), hole)
    rgb = rgb * light[..., None]
    return Drawing(rgb.astype(np.float32), body.cover(), 1.0, 0.9 * half)


def plastic_cup(rng: np.random.Generator, length_px: float, toward: tuple[float, float]) -> Drawing:
    """A disposable cup on its side: tapered ribbed wall, rolled rim, and the opening seen at a slant."""
    half = length_px * float(rng.uniform(0.33, 0.40))
    depth = half * float(rng.uniform(0.16, 0.42))
    rim_at = length_px - depth
    foot = float(rng.uniform(0.62, 0.74))
    end = rim_at / length_px
    body = Axial(
        length_px, half, [(0, foot - 0.10), (0.02, foot - 0.02), (0.05, foot), (end, 0.97), (1, 0.97)]
    )
    dents = body.dent(rng, int(rng.integers(0, 3)), 0.24)
    across = body.across
    clear = rng.random() < 0.4
    colour = as_rgb((0.90, 0.93, 0.95) if clear else pick(rng, _CUPS, 0.04))
    ribs = np.sin(body.u * np.float32(2 * np.pi * rng.uniform(9, 16))) * body.band(0.12, end - 0.2, 0.03)
    edge = across**4
    light = round_shade(across, toward[1], 0.55) + 0.06 * ribs + 0.28 * dents - 0.12 * edge
    rgb = colour * light[..., None]
    gloss = (0.55 if clear else 0.28) * streak(across, 0.5 * toward[1], 0.10)
    rgb = mix(rgb, as_rgb((1.0, 1.0, 1.0)), gloss.astype(np.float32))
    wall = (
        np.clip(0.40 + 0.40 * edge + 0.12 * ribs + gloss + 0.2 * np.abs(dents), 0, 1)
        if clear
        else edge * 0 + 1
    )

    mouth = body.disc(rim_at, depth, 0.97 * half)
    inner = body.disc(rim_at, depth * 0.80, 0.90 * half)
    shade = 0.62 - 0.30 * (body.y / np.float32(half)) * np.float32(toward[1]) + 0.12 * (body.u - end) * 4
    inside = colour * (shade * (across * 0 + 1))[..., None]
    rgb = mix(rgb, np.broadcast_to(colour * np.float32(1.08) + np.float32(0.04), rgb.shape), mouth)
    rgb = mix(rgb, inside, inner)
    opacity = wall + (0.95 - wall) * mouth
    opacity = opacity + ((0.5 if clear else 1.0) - opacity) * inner
    cover = np.maximum(body.cover(0.0, rim_at), mouth)
    return Drawing(rgb.astype(np.float32), cover.astype(np.float32), opacity.astype(np.float32), 1.0 * half)
