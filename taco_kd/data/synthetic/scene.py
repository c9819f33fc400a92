"""One synthetic litter scene: an image and the outline and box of every object in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from taco_kd.data.synthetic.classes import SCENE_CLASSES, SceneClass
from taco_kd.data.synthetic.clutter import blades, leaf, pebble, twig
from taco_kd.data.synthetic.ground import GROUNDS, draw_ground
from taco_kd.data.synthetic.layers import Layers
from taco_kd.data.synthetic.litter import draw_litter
from taco_kd.data.synthetic.outline import Polygon
from taco_kd.data.synthetic.photo import photograph
from taco_kd.data.synthetic.sprite import Light, Sprite

MIN_SIDE_PX = 64  # below this an object would be a few pixels

_COUNT_WEIGHTS = (0.14, 0.20, 0.22, 0.16, 0.11, 0.08, 0.05, 0.04)  # for 1, 2, ... 8 objects
_ATTEMPTS = 12  # places tried before an object is given up
_LEANING = 0.18  # share of objects put beside or upon another one
_LOOSE = 0.14  # share of objects that may be cut by the frame


@dataclass(frozen=True)
class SceneObject:
    """One annotated object; coordinates are pixels of the scene, (0, 0) the top left corner.

    `polygons` outline the visible part (several where something lies across it), largest first;
    `bbox` is x, y, width, height of the tightest box around them.
    """

    class_name: str
    polygons: list[Polygon]
    bbox: tuple[float, float, float, float]
    area_px: float


@dataclass(frozen=True)
class Scene:
    """A drawn scene: the RGB image, the objects on it and the name of the ground they lie on."""

    image: Image.Image
    objects: list[SceneObject]
    ground: str


def draw_scene(seed: int, *, width: int = 640, height: int = 480) -> Scene:
    """Draw the scene of `seed`, the same bytes each time.

    Raises `ValueError` for a negative seed or a side below `MIN_SIDE_PX`.
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if min(width, height) < MIN_SIDE_PX:
        raise ValueError(f"a scene needs sides of at least {MIN_SIDE_PX} px, got {width}x{height}")
    rng = np.random.Generator(np.random.PCG64(seed))
    names = tuple(GROUNDS)
    weights = np.array([GROUNDS[name] for name in names])
    ground = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    azimuth = float(rng.uniform(0, 2 * math.pi))
    light = Light(math.cos(azimuth), math.sin(azimuth))
    shadow = float(rng.uniform(0.35, 0.65)) * (0.6 if ground == "water" else 1.0)

    layers = Layers(draw_ground(rng, ground, width, height), light, shadow)
    _scatter_clutter(rng, layers, ground)
    for _ in range(1 + int(rng.choice(len(_COUNT_WEIGHTS), p=_COUNT_WEIGHTS))):
        _place_object(rng, layers, _pick_class(rng))
    _cover_partly(rng, layers, ground)
    objects = [SceneObject(name, polygons, box, area) for name, polygons, box, area in layers.annotations()]
    return Scene(photograph(rng, layers.image, light), objects, ground)


def _pick_class(rng: np.random.Generator) -> SceneClass:
    weights = np.array([entry.frequency for entry in SCENE_CLASSES])
    return SCENE_CLASSES[int(rng.choice(len(SCENE_CLASSES), p=weights / weights.sum()))]


def _scatter_clutter(rng: np.random.Generator, layers: Layers, ground: str) -> None:
    """Leaves, pebbles and twigs under the litter: what a detector must learn to leave alone."""
    width, height = layers.image.size
    for _ in range(int(rng.integers(0, 5 if ground == "water" else 12))):
        kind = rng.random()
        if kind < 0.45:
            sprite = leaf(rng, float(rng.uniform(0.03, 0.10)) * width)
        elif kind < 0.8 and ground != "water":
            sprite = pebble(rng, float(rng.uniform(0.012, 0.05)) * width, layers.light)
        else:
            sprite = twig(rng, float(rng.uniform(0.06, 0.2)) * width)
        layers.paste(sprite, int(rng.integers(-10, width)), int(rng.integers(-10, height)))


def _place_object(rng: np.random.Generator, layers: Layers, scene_class: SceneClass) -> None:
    """Draw an object and lay it down where it and everything under it stay recognisable."""
    width, height = layers.image.size
    shortest, longest = scene_class.length_range
    # Log-uniform: as many objects between 10 % and 20 % as between 20 % and 40 %.
    length_px = min(width, height * 4 / 3) * shortest * (longest / shortest) ** float(rng.random())
    sprite = draw_litter(rng, scene_class.name, length_px, layers.light)
    for _ in range(_ATTEMPTS):
        left, top = _random_place(rng, layers, sprite)
        if layers.try_litter(scene_class.name, sprite, left, top):
            return


def _random_place(rng: np.random.Generator, layers: Layers, sprite: Sprite) -> tuple[int, int]:
    """Top left corner for a sprite: mostly anywhere inside, at times on another object or the frame."""
    width, height = layers.image.size
    w, h = sprite.image.size
    kind = rng.random()
    if kind < _LEANING and layers.litter:
        other = layers.litter[int(rng.integers(len(layers.litter)))]
        angle = float(rng.uniform(0, 2 * math.pi))
        reach = float(rng.uniform(0.25, 0.5))
        x = other.left + other.width / 2 + math.cos(angle) * reach * (other.width + w)
        y = other.top + other.height / 2 + math.sin(angle) * reach * (other.height + h)
        return int(x - w / 2), int(y - h / 2)
    if kind < _LEANING + _LOOSE:
        return int(rng.uniform(-0.4 * w, width - 0.6 * w)), int(rng.uniform(-0.4 * h, height - 0.6 * h))
    return int(rng.uniform(0, max(width - w, 1))), int(rng.uniform(0, max(height - h, 1)))


def _cover_partly(rng: np.random.Generator, layers: Layers, ground: str) -> None:
    """Lay a leaf or some blades of grass over the litter."""
    width, height = layers.image.size
    for item in layers.litter:
        x = item.left + float(rng.uniform(0, 1)) * item.width
        y = item.top + float(rng.uniform(0, 1)) * item.height
        if rng.random() < 0.10:
            sprite = leaf(rng, float(rng.uniform(0.03, 0.08)) * width)
            layers.try_cover(sprite, int(x - sprite.image.width / 2), int(y - sprite.image.height / 2))
    if ground != "grass":
        return
    draw = ImageDraw.Draw(layers.image)
    for item in layers.litter:
        # Thin blades do not change an outline: TACO's annotators draw across them too.
        count = int(rng.integers(0, 4 + item.width // 8))
        across = item.left + rng.uniform(0, 1, count) * item.width
        down = item.top + item.height * rng.uniform(0.75, 1.15, count)
        blades(rng, draw, np.stack([across, down], axis=1), 0.05 * height)
