"""One piece of litter of a given class as a sprite."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from taco_kd.data.synthetic.bottles import glass_bottle, plastic_bottle
from taco_kd.data.synthetic.sheets import crisp_packet, normal_paper, plastic_film
from taco_kd.data.synthetic.small_items import bottle_cap, cigarette
from taco_kd.data.synthetic.sprite import SUPERSAMPLE, Drawing, Light, Sprite, pose
from taco_kd.data.synthetic.vessels import drink_can, drink_carton, plastic_cup

# Every painter takes (rng, length in drawing pixels, direction towards the light in its own frame).
_PAINTERS: dict[str, Callable[[np.random.Generator, float, tuple[float, float]], Drawing]] = {
    "Cigarette": cigarette,
    "Plastic bottle cap": bottle_cap,
    "Clear plastic bottle": plastic_bottle,
    "Glass bottle": glass_bottle,
    "Drink can": drink_can,
    "Drink carton": drink_carton,
    "Disposable plastic cup": plastic_cup,
    "Plastic film": plastic_film,
    "Crisp packet": crisp_packet,
    "Normal paper": normal_paper,
}
_TILT = 0.14  # how far the corners of a drawing may move, as a share of half its size


def draw_litter(rng: np.random.Generator, class_name: str, length_px: float, light: Light) -> Sprite:
    """Draw one object about `length_px` long, randomly turned, lit from `light`.

    Raises `KeyError` for a class that is not in `SCENE_CLASSES`.
    """
    angle_rad = float(rng.uniform(0, 2 * math.pi))
    toward = light.seen_from(angle_rad)
    drawing = _PAINTERS[class_name](rng, length_px * SUPERSAMPLE, toward)
    return pose(drawing, rng, angle_rad, _TILT)
