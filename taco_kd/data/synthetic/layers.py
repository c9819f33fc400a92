"""Sprites laid over one another: shadows, who hides whom, and what stays visible of each object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from taco_kd.data.synthetic.outline import Polygon, outlines, polygon_area
from taco_kd.data.synthetic.sprite import Light, Sprite

MIN_VISIBLE = 0.45  # share of an object's whole area that must stay visible
MIN_LONG_SIDE = 0.047  # of the image width: 9 px once the scene is 192 px wide

_NOBODY = -1
_MIN_PART = 0.06  # parts below this share of an object's visible area are not outlined
_SHADOW_SCALE = 4  # shadows are blurred at a quarter of the size, then enlarged


@dataclass
class _Lying:
    """An object in place: its class, the box of its sprite (may leave the frame), its whole area."""

    name: str
    left: int
    top: int
    width: int
    height: int
    area_px: int


class Layers:
    """An image that litter is laid upon, and the map of which object shows at each pixel."""

    def __init__(self, image: Image.Image, light: Light, shadow: float) -> None:
        """`shadow` is how dark a shadow of an opaque object is, 0 to 1."""
        self.image, self.light, self.shadow = image, light, shadow
        self.litter: list[_Lying] = []
        self._owner: NDArray[np.int16] = np.full((image.height, image.width), _NOBODY, dtype=np.int16)

    def paste(self, sprite: Sprite, left: int, top: int) -> None:
        """Paste a sprite with its shadow, its top left corner at (left, top)."""
        self._paste_shadow(sprite, left, top)
        self.image.paste(sprite.image, (left, top), sprite.image)

    def try_litter(self, name: str, sprite: Sprite, left: int, top: int) -> bool:
        """Lay an object down unless it, or one that it covers, would be hidden too much."""
        mask = np.asarray(sprite.cover) > 127
        item = _Lying(name, left, top, mask.shape[1], mask.shape[0], int(np.count_nonzero(mask)))
        self.litter.append(item)
        if self._claim(mask, left, top, len(self.litter) - 1):
            self.paste(sprite, left, top)
            return True
        self.litter.pop()
        return False

    def try_cover(self, sprite: Sprite, left: int, top: int) -> bool:
        """Lay something that is not litter over the objects, unless it hides one too much."""
        if not self._claim(np.asarray(sprite.cover) > 127, left, top, _NOBODY):
            return False
        self.paste(sprite, left, top)
        return True

    def annotations(self) -> Iterator[tuple[str, list[Polygon], tuple[float, float, float, float], float]]:
        """For each object: its class, the polygons of its visible part, their box xywh and area."""
        for index in range(len(self.litter)):
            mask, left, top = self._visible(index)
            smallest = _MIN_PART * float(np.count_nonzero(mask))
            polygons = [[(x + left, y + top) for x, y in part] for part in outlines(mask, smallest)]
            xs = [x for part in polygons for x, _ in part]
            ys = [y for part in polygons for _, y in part]
            box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
            yield self.litter[index].name, polygons, box, sum(polygon_area(part) for part in polygons)

    def _window(self, left: int, top: int, width: int, height: int) -> tuple[slice, slice]:
        """Rows and columns of the frame under a box, empty where the box lies outside."""
        rows, cols = self._owner.shape
        return (
            slice(min(max(top, 0), rows), min(max(top + height, 0), rows)),
            slice(min(max(left, 0), cols), min(max(left + width, 0), cols)),
        )

    def _visible(self, index: int) -> tuple[NDArray[np.bool_], int, int]:
        """The visible pixels of an object within its box, and that box's corner in the frame."""
        item = self.litter[index]
        rows, cols = self._window(item.left, item.top, item.width, item.height)
        return self._owner[rows, cols] == index, cols.start, rows.start

    def _claim(self, mask: NDArray[np.bool_], left: int, top: int, index: int) -> bool:
        """Give the pixels under `mask` to `index` and keep that if every object stays recognisable."""
        rows, cols = self._window(left, top, mask.shape[1], mask.shape[0])
        part = mask[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
        if part.size == 0:
            return False
        window = self._owner[rows, cols]
        before = window.copy()
        touched = {int(owner) for owner in np.unique(before[part])} | {index}
        window[part] = index
        if all(self._recognisable(owner) for owner in touched if owner != _NOBODY):
            return True
        window[:] = before
        return False

    def _recognisable(self, index: int) -> bool:
        mask, _, _ = self._visible(index)
        if np.count_nonzero(mask) < MIN_VISIBLE * self.litter[index].area_px:
            return False
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        long_side = max(columns[-1] - columns[0], rows[-1] - rows[0]) + 1
        return bool(long_side >= MIN_LONG_SIDE * self.image.width)

    def _paste_shadow(self, sprite: Sprite, left: int, top: int) -> None:
        """A soft shadow away from the light, as far as the object is thick, plus a dark contact line."""
        reach = sprite.thickness_px
        blur = 1.2 + 0.30 * reach
        pad = int(reach + 3 * blur) + _SHADOW_SCALE
        width, height = sprite.cover.size
        coarse = ((width + 2 * pad) // _SHADOW_SCALE + 1, (height + 2 * pad) // _SHADOW_SCALE + 1)
        size = (coarse[0] * _SHADOW_SCALE, coarse[1] * _SHADOW_SCALE)
        mask = Image.new("L", size, 0)
        for share, strength in ((0.35, 0.55), (1.0, 0.75)):
            level = int(255 * self.shadow * strength * (0.35 + 0.65 * sprite.density))
            shift = (
                pad - int(self.light.toward_x * reach * share),
                pad - int(self.light.toward_y * reach * share),
            )
            mask.paste(level, shift, sprite.cover)
        mask = mask.reduce(_SHADOW_SCALE).filter(ImageFilter.GaussianBlur(blur / _SHADOW_SCALE))
        mask = mask.resize(size, Image.Resampling.BICUBIC)
        self.image.paste((14, 14, 20), (left - pad, top - pad), mask)
