"""Copy-paste: objects of another image, cut out along their outlines (Ghiasi et al., arXiv:2012.07177)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from taco_kd.data.dataset import Outline
from taco_kd.data.sample import MIN_VISIBLE, Sample, cut_image

SCALES = (0.5, 1.5)
"""Objects are pasted at a size between these multiples of their own."""
SMALLEST_PX = 4
"""Objects with a smaller side in pixels are not pasted."""
ROUNDING_PX = 0.01


@dataclass(frozen=True)
class Patch:
    """The pixels of an image that are an object's.

    Attributes:
        left, top: where its rectangle begins, in pixels.
        mask: bool [h, w], which pixels of the rectangle are the object's own.
        box_xyxy: float32 [4] its box.
    """

    left: int
    top: int
    mask: Tensor
    box_xyxy: Tensor

    def of(self, image: Tensor) -> Tensor:
        """The rectangle as a part, not a copy, of ``image`` [..., H, W]."""
        height, width = self.mask.shape
        return image[..., self.top : self.top + height, self.left : self.left + width]

    def seen(self, own: Tensor) -> Tensor | None:
        """Its box where only the pixels ``own`` bool [h, w] of it are seen; None where hardly any are.

        Edges of the box move only where the object is covered.
        """
        visible = self.mask & own
        whole, left = int(self.mask.sum()), int(visible.sum())
        if left == whole:
            return self.box_xyxy
        if left < MIN_VISIBLE * whole or left == 0:
            return None
        box = self.box_xyxy.clone()
        corner = (self.left, self.top, self.left, self.top)
        for edge, (before, after) in enumerate(zip(_extent(self.mask), _extent(visible), strict=True)):
            if before != after:
                box[edge] = float(corner[edge] + after)
        return box if bool((box[2:] - box[:2] >= 1).all()) else None


def paste(target: Sample, source: Sample, rng: np.random.Generator) -> Sample:
    """``target`` with some of the objects of ``source`` at random places in it, each wholly inside.

    Boxes of objects that come to lie behind a pasted one shrink to what is still seen, by their outlines
    where these are known, else by their boxes; objects of which less than ``MIN_VISIBLE`` is seen go.
    """
    image = target.image.clone()
    owner = torch.zeros(image.shape[-2:], dtype=torch.int16)  # 0: as it was; n: of the n-th object pasted
    pasted: list[tuple[Patch, Tensor]] = []
    usable = [place for place, outline in enumerate(source.outlines) if outline]
    mirrored = bool(rng.random() < 0.5)
    for place in rng.permutation(usable)[: rng.integers(len(usable)) + 1]:
        scale, at = float(rng.uniform(*SCALES)), rng.random(2)
        cut = _cut_out(source, int(place), scale, mirrored, image.shape[-2:])
        if cut is None:
            continue
        pixels, mask = cut
        corner = [
            round(float(a) * (side - own))
            for a, side, own in zip(at, image.shape[:0:-1], mask.shape[::-1], strict=True)
        ]
        edges = [corner[n % 2] + edge for n, edge in enumerate(_extent(mask))]
        patch = Patch(corner[0], corner[1], mask, torch.tensor(edges, dtype=torch.float32))
        patch.of(image)[:, mask] = pixels[:, mask]
        pasted.append((patch, source.class_ids[place]))
        patch.of(owner)[mask] = len(pasted)
    boxes: list[Tensor] = []
    classes: list[Tensor] = []
    for box, outline, class_id in zip(target.boxes_xyxy, target.outlines, target.class_ids, strict=True):
        _keep(boxes, classes, _seen_behind(box, outline, owner), class_id)
    for number, (patch, class_id) in enumerate(pasted, start=1):
        _keep(boxes, classes, patch.seen(patch.of(owner) == number), class_id)
    if not boxes:
        return Sample(image, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), ())
    return Sample(image, torch.stack(boxes), torch.stack(classes), ((),) * len(boxes))


def _keep(boxes: list[Tensor], classes: list[Tensor], box: Tensor | None, class_id: Tensor) -> None:
    if box is not None:
        boxes.append(box)
        classes.append(class_id)


def _seen_behind(box: Tensor, outline: Outline, owner: Tensor) -> Tensor | None:
    """What is left of the box of an object that was in the image before others were pasted."""
    left, top, right, bottom = rectangle(box, owner.shape)
    if right <= left or bottom <= top or not owner[top:bottom, left:right].any():
        return box
    size = (bottom - top, right - left)
    mask = (
        fill(outline, owner.shape, (left, top), size, 1.0) if outline else torch.ones(size, dtype=torch.bool)
    )
    patch = Patch(left, top, mask if mask.any() else torch.ones_like(mask), box)
    return patch.seen(patch.of(owner) == 0)


def _cut_out(
    source: Sample, place: int, scale: float, mirrored: bool, room: torch.Size
) -> tuple[Tensor, Tensor] | None:
    """Pixels uint8 [3, h, w] and mask bool [h, w] of an object, scaled; None where it is too small."""
    left, top, right, bottom = rectangle(source.boxes_xyxy[place], source.image.shape[-2:])
    if right <= left or bottom <= top:
        return None
    scale = min(scale, room[0] / (bottom - top), room[1] / (right - left))
    size = (int((bottom - top) * scale), int((right - left) * scale))
    if min(size) < SMALLEST_PX:
        return None
    pixels = cut_image(source.image, (left, top, right, bottom), size)
    stretch = (size[1] / (right - left), size[0] / (bottom - top))
    mask = fill(source.outlines[place], source.image.shape[-2:], (left, top), size, stretch)
    if mirrored:
        pixels, mask = pixels.flip(-1), mask.flip(-1)
    return (pixels, mask) if mask.any() else None


def rectangle(box_xyxy: Tensor, shape: torch.Size) -> tuple[int, int, int, int]:
    """The whole pixels x0, y0, x1, y1 of an image [H, W] that a box touches, rounding errors apart."""
    height, width = shape
    low = (box_xyxy[:2] + ROUNDING_PX).floor().long().tolist()
    high = (box_xyxy[2:] - ROUNDING_PX).ceil().long().tolist()
    return max(low[0], 0), max(low[1], 0), min(high[0], width), min(high[1], height)


def fill(
    outline: Outline,
    shape: torch.Size,
    corner: tuple[int, int],
    size: tuple[int, int],
    stretch: float | tuple[float, float],
) -> Tensor:
    """Which pixels bool [h, w] of the rectangle that begins at ``corner`` lie inside of the polygons.

    Args:
        shape: height and width of the image that ``outline`` is a fraction of.
        size: h, w of the rectangle once it is stretched, by ``stretch`` in x and y.
    """
    drawn = Image.new("1", (size[1], size[0]))
    for polygon in outline:
        points = (polygon * (shape[1], shape[0]) - corner) * stretch - 0.5
        if len(points) >= 3:
            ImageDraw.Draw(drawn).polygon([tuple(p) for p in points.tolist()], fill=1)
    return torch.from_numpy(np.array(drawn))


def _extent(mask: Tensor) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the pixels that are set, of which there are some."""
    columns, rows = mask.any(dim=0).nonzero(), mask.any(dim=1).nonzero()
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
