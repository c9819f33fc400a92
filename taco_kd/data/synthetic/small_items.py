"""Small litter: cigarette ends and plastic bottle caps."""

from __future__ import annotations

import math

import numpy as np

from taco_kd.data.synthetic.axial import Axial, round_shade
from taco_kd.data.synthetic.colours import Colour, as_rgb, mix, pick
from taco_kd.data.synthetic.fields import value_noise
from taco_kd.data.synthetic.sprite import MARGIN_PX, Drawing

_FILTERS: tuple[Colour, ...] = (
    (0.83, 0.55, 0.25),
    (0.78, 0.50, 0.24),
    (0.88, 0.66, 0.36),
    (0.90, 0.86, 0.78),
)
_CAPS: tuple[Colour, ...] = (
    (0.80, 0.08, 0.10), (0.10, 0.28, 0.70), (0.93, 0.93, 0.92), (0.10, 0.55, 0.28),
    (0.95, 0.78, 0.12), (0.95, 0.45, 0.08), (0.20, 0.62, 0.85), (0.12, 0.12, 0.14),
)  # fmt: skip


def cigarette(rng: np.random.Generator, length_px: float, toward: tuple[float, float]) -> Drawing:
    """A smoked cigarette: filter, white paper, burnt tip; short ends are mostly filter."""
    half = length_px * float(rng.uniform(0.075, 0.11))
    body = Axial(length_px, half, [(0, 0.86), (0.02, 1.0), (0.6, 1.0), (0.97, 0.95), (1, 0.7)])
    squeeze = body.dent(rng, int(rng.integers(0, 3)), 0.35)
    body.bend(float(rng.uniform(-1, 1)) * half * 0.9)
    across = body.across
    rows, cols = across.shape
    grain = value_noise(rng, cols, rows, max(3.0, half * 0.4), octaves=2)

    paper = np.broadcast_to(
        as_rgb(pick(rng, ((0.94, 0.93, 0.90), (0.88, 0.86, 0.80)), 0.03)), (rows, cols, 3)
    )
    filter_end = float(rng.uniform(0.30, 0.62))
    rgb = mix(paper, as_rgb(pick(rng, _FILTERS)), np.broadcast_to(body.band(-0.1, filter_end), (rows, cols)))
    rgb = mix(rgb, as_rgb((0.55, 0.36, 0.15)), body.band(filter_end, filter_end + 0.02) * (across * 0 + 0.6))
    rgb = mix(rgb, as_rgb((0.70, 0.62, 0.52)), np.clip(0.05 - body.u, 0, 0.05) * 14 * (across * 0 + 1))
    burnt = float(rng.uniform(0.03, 0.12))
    char = np.clip((body.u - (1 - burnt) + (grain - 0.5) * 0.08) / np.float32(0.03), 0.0, 1.0)
    rgb = mix(rgb, as_rgb((0.13, 0.12, 0.11)), char)
    rgb = rgb * (round_shade(across, toward[1], 0.55) * (0.90 + 0.14 * grain) + 0.15 * squeeze)[..., None]
    return Drawing(rgb, body.cover(), 1.0, 1.3 * half)


def bottle_cap(rng: np.random.Generator, length_px: float, toward: tuple[float, float]) -> Drawing:
    """A screw cap: seen from above with its knurled side, or upside down with its hollow inside."""
    radius = length_px / 2
    lean = float(rng.uniform(0.05, 0.42)) * radius  # how much of the side shows
    squash = math.sqrt(max(0.0, 1 - (lean / (0.9 * radius)) ** 2)) if lean < 0.9 * radius else 0.5
    squash = max(squash, 0.72)
    side = math.ceil(length_px) + 2 * MARGIN_PX
    x = (np.arange(side, dtype=np.float32) + np.float32(0.5 - side / 2))[None, :]
    y = (np.arange(side, dtype=np.float32) + np.float32(0.5 - side / 2))[:, None]
    ry = radius * squash - lean / 2
    r_top = np.sqrt((x / np.float32(radius)) ** 2 + ((y + np.float32(lean / 2)) / np.float32(ry)) ** 2)
    r_low = np.sqrt((x / np.float32(radius)) ** 2 + ((y - np.float32(lean / 2)) / np.float32(ry)) ** 2)
    top = np.clip((1 - r_top) * np.float32(ry) + 0.5, 0.0, 1.0)
    low = np.clip((1 - r_low) * np.float32(ry) + 0.5, 0.0, 1.0)
    wall = np.clip(np.float32(radius) - np.abs(x) + 0.5, 0, 1) * (np.abs(y) <= np.float32(lean / 2))
    cover = np.maximum(np.maximum(top, low), wall).astype(np.float32)

    colour = as_rgb(pick(rng, _CAPS))
    turn = np.arctan2(y + np.float32(lean / 2), x)
    toward_face = (x * toward[0] + y * toward[1]) / np.float32(radius)
    knurl = 0.70 + 0.16 * np.sign(np.sin(turn * 34)) + 0.25 * toward_face
    rgb = colour * knurl[..., None].astype(np.float32)
    if rng.random() < 0.6:  # the flat top: a bright bevel, a plain disc, often a logo
        face = 0.98 + 0.14 * toward_face
        bevel = np.exp(-(((r_top - np.float32(0.86)) / np.float32(0.06)) ** 2)) * toward_face
        shine = np.exp(-((toward_face - 0.5) ** 2) * 10) * 0.16
        rgb = mix(rgb, colour * face[..., None] + (0.45 * bevel + shine)[..., None], top)
        if rng.random() < 0.6:
            ring = np.exp(-(((r_top - np.float32(rng.uniform(0.3, 0.55))) / np.float32(0.09)) ** 2))
            ink = as_rgb((0.97, 0.97, 0.97)) if float(colour.sum()) < 2.2 else as_rgb((0.15, 0.25, 0.60))
            rgb = mix(rgb, ink, (ring * np.float32(0.75) * top).astype(np.float32))
    else:  # upside down: a rim around a hollow that is dark on the side of the light
        hollow = np.clip((np.float32(0.82) - r_top) * np.float32(ry) + 0.5, 0.0, 1.0)
        rgb = mix(rgb, colour * np.float32(1.08) + np.float32(0.06), top)
        rgb = mix(rgb, colour * (0.55 - 0.35 * toward_face)[..., None].astype(np.float32), hollow)
        seal = np.exp(-(((r_top - np.float32(0.55)) / np.float32(0.05)) ** 2)) * np.float32(0.35)
        rgb = mix(rgb, as_rgb((0.92, 0.92, 0.9)), (seal * hollow).astype(np.float32))
    return Drawing(rgb.astype(np.float32), cover, 1.0, 0.35 * radius)
