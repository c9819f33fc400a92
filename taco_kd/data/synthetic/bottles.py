"""Bottles: clear plastic (thin, dented, see-through) and glass (rigid, coloured, glossy)."""

from __future__ import annotations

import numpy as np

from taco_kd.data.synthetic.axial import Axial, round_shade, streak
from taco_kd.data.synthetic.colours import PRINT_INKS, Colour, as_rgb, mix, pick
from taco_kd.data.synthetic.fields import FloatArray, folds
from taco_kd.data.synthetic.printing import packaging
from taco_kd.data.synthetic.sprite import Drawing

_PLASTICS: tuple[Colour, ...] = (
    (0.84, 0.90, 0.94),
    (0.72, 0.86, 0.95),
    (0.80, 0.92, 0.86),
    (0.90, 0.92, 0.92),
)
_GLASSES: tuple[Colour, ...] = (
    (0.30, 0.15, 0.05), (0.24, 0.11, 0.04), (0.08, 0.30, 0.14), (0.14, 0.36, 0.16), (0.62, 0.72, 0.68),
)  # fmt: skip
_LABEL_PAPERS: tuple[Colour, ...] = (
    (0.93, 0.90, 0.82),
    (0.95, 0.95, 0.93),
    (0.80, 0.66, 0.30),
    (0.65, 0.08, 0.10),
)


def _stuck_label(
    rng: np.random.Generator, body: Axial, rgb: FloatArray, span: tuple[float, float], ground: Colour
) -> tuple[FloatArray, FloatArray]:
    """Print a label around the body between two places `u`; return the new colours and the label's mask."""
    rows, cols = rgb.shape[:2]
    first, last = (int(np.searchsorted(body.u[0], place)) for place in span)
    printed = rgb.copy()
    printed[:, first:last] = packaging(rng, last - first, rows, ground)
    mask = np.broadcast_to(body.band(*span), (rows, cols))
    return mix(rgb, printed, mask), mask


def plastic_bottle(rng: np.random.Generator, length_px: float, toward: tuple[float, float]) -> Drawing:
    """A clear drink bottle: ribs, a wrapped label, a short neck with a bright cap; often dented."""
    half = length_px * float(rng.uniform(0.135, 0.185))
    waist = float(rng.uniform(0.86, 1.0))
    body = Axial(length_px, half, [
        (0, 0.80), (0.025, 0.95), (0.06, 1.0), (0.30, 1.0), (0.36, waist), (0.44, waist), (0.50, 1.0),
        (0.64, 0.97), (0.72, 0.84), (0.80, 0.58), (0.86, 0.37), (0.895, 0.34), (0.90, 0.46),
        (0.915, 0.46), (0.92, 0.39), (0.995, 0.39), (1, 0.35),
    ])  # fmt: skip
    dents = body.dent(rng, int(rng.integers(0, 5)), 0.45)
    body.bend(float(rng.uniform(-1, 1)) * half * 0.12)
    across = body.across
    rows, cols = across.shape
    tint = as_rgb(pick(rng, _PLASTICS, 0.03))
    ribs = np.sin(body.u * np.float32(2 * np.pi * rng.uniform(14, 24))) * body.band(0.05, 0.72, 0.03)
    edge = across**4
    wrinkles = np.abs(folds(rng, cols, rows, int(rng.integers(3, 12)), toward)) * np.float32(0.6)
    glint = streak(across, 0.55 * toward[1], 0.13) + 0.5 * streak(across, -0.6 * toward[1] - 0.1, 0.08)

    light = 0.80 + 0.10 * ribs + 0.35 * dents - 0.30 * edge
    rgb = tint * np.asarray(light, dtype=np.float32)[..., None]
    opacity = np.clip(0.34 + 0.38 * edge + 0.10 * ribs + 0.25 * np.abs(dents) + 0.35 * wrinkles, 0.2, 0.95)
    shine = np.clip(0.75 * glint + 0.55 * wrinkles, 0.0, 1.0) * (0.75 + 0.25 * ribs)
    if rng.random() < 0.75:
        start = float(rng.uniform(0.26, 0.36))
        ground = pick(rng, (*PRINT_INKS, (0.95, 0.95, 0.95)))
        span = (start, start + float(rng.uniform(0.18, 0.30)))
        rgb_label, mask = _stuck_label(rng, body, rgb, span, ground)
        shaded = rgb_label * (round_shade(across, toward[1], 0.6) + 0.2 * dents)[..., None]
        rgb = mix(rgb, shaded, mask)
        opacity = opacity + (0.95 - opacity) * mask
        shine = shine * (1 - 0.6 * mask)
    rgb = mix(rgb, as_rgb((1.0, 1.0, 1.0)), np.asarray(shine, dtype=np.float32))
    opacity = np.maximum(opacity, 0.9 * shine)
    if rng.random() < 0.8:
        cap = np.broadcast_to(body.band(0.918, 1.1), (rows, cols))
        knurl = 0.92 + 0.10 * np.sign(np.sin(across * np.float32(26)))
        colour = as_rgb(pick(rng, (*PRINT_INKS, (0.94, 0.94, 0.94), (0.15, 0.4, 0.85))))
        rgb = mix(rgb, colour * (round_shade(across, toward[1], 0.7) * knurl)[..., None], cap)
        opacity = opacity + (1 - opacity) * cap
    return Drawing(rgb.astype(np.float32), body.cover(), opacity.astype(np.float32), 1.1 * half)


def glass_bottle(rng: np.random.Generator, length_px: float, toward: tuple[float, float]) -> Drawing:
    """A beer or wine bottle: straight body, long thin neck with a lip, hard highlights, paper label."""
    half = length_px * float(rng.uniform(0.115, 0.150))
    shoulder = float(rng.uniform(0.50, 0.60))
    body = Axial(length_px, half, [
        (0, 0.88), (0.015, 0.97), (0.04, 1.0), (shoulder, 1.0), (shoulder + 0.05, 0.93),
        (shoulder + 0.11, 0.66), (shoulder + 0.16, 0.46), (0.80, 0.38), (0.935, 0.34), (0.94, 0.42),
        (0.97, 0.42), (0.975, 0.37), (1, 0.37),
    ])  # fmt: skip
    across = body.across
    rows, cols = across.shape
    glass = as_rgb(pick(rng, _GLASSES, 0.03))
    pale = float(glass.sum()) > 1.5
    edge = across**6
    # Light that comes through the glass brightens the side away from the lamp.
    through = np.clip(-across * np.float32(toward[1]), 0.0, 1.0) * np.float32(0.5)
    rgb = glass * (0.85 + 0.8 * through - 0.55 * edge)[..., None]
    opacity = np.clip((0.50 if pale else 0.86) + 0.4 * edge, 0.0, 1.0)
    shine = streak(across, 0.5 * toward[1], 0.07) * body.band(0.03, 0.97, 0.02)
    shine = shine + 0.45 * streak(across, 0.5 * toward[1] + 0.24, 0.035) * body.band(0.06, shoulder, 0.03)
    base = np.broadcast_to(body.band(-0.1, 0.03), (rows, cols))
    rgb = mix(rgb, glass * np.float32(0.45), np.float32(0.7) * base)
    if rng.random() < 0.78:
        start = float(rng.uniform(0.10, 0.18))
        end = start + float(rng.uniform(0.22, 0.32))
        printed, mask = _stuck_label(rng, body, rgb, (start, end), pick(rng, _LABEL_PAPERS))
        mask = mask * np.clip((0.9 - np.abs(across)) * 12, 0.0, 1.0)
        rgb = mix(rgb, printed * round_shade(across, toward[1], 0.6)[..., None], mask)
        opacity = opacity + (1 - opacity) * mask
        shine = shine * (1 - 0.75 * mask)
        if rng.random() < 0.4:  # a second, small label on the neck
            ring = np.broadcast_to(body.band(0.78, 0.86), (rows, cols))
            neck_paper = as_rgb(pick(rng, _LABEL_PAPERS))
            rgb = mix(rgb, neck_paper * round_shade(across, toward[1], 0.6)[..., None], ring)
    if rng.random() < 0.35:  # still has its crown cap or foil
        cap = np.broadcast_to(body.band(0.945, 1.1), (rows, cols))
        metal = as_rgb(pick(rng, ((0.80, 0.70, 0.35), (0.75, 0.76, 0.78), (0.70, 0.10, 0.12))))
        rgb = mix(rgb, metal * round_shade(across, toward[1], 0.8)[..., None], cap)
    rgb = mix(rgb, as_rgb((1.0, 1.0, 0.98)), np.clip(shine * 0.85, 0.0, 1.0).astype(np.float32))
    return Drawing(rgb.astype(np.float32), body.cover(), opacity.astype(np.float32), 1.2 * half)
