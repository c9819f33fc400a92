"""A prepared dataset as batches of tensors, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from taco_kd.errors import DataError
from taco_kd.runs import DataDir, Split
from taco_kd.types import Targets

CACHE_BYTES = 2 << 30
"""Decoded images are kept in memory while all of them together stay under this."""


@dataclass(frozen=True)
class Batch:
    """Some images of a dataset.

    Attributes:
        images: uint8 [B, 3, S, S] RGB.
        targets: one per image.
        positions: [B] places of the images in the dataset.
        mirrored: [B] whether the image, with its boxes, is mirrored left to right.
    """

    images: Tensor
    targets: list[Targets]
    positions: tuple[int, ...]
    mirrored: tuple[bool, ...]

    def part(self, start: int, stop: int) -> Batch:
        """The images from ``start`` to before ``stop``."""
        some = slice(start, stop)
        return Batch(self.images[some], self.targets[some], self.positions[some], self.mirrored[some])


class DetectionDataset:
    """One split at the size a model wants.

    Args:
        data: the prepared dataset.
        split: train or val.
        image_size: side in pixels of the square images that come out.
    """

    def __init__(self, data: DataDir, split: Split, image_size: int) -> None:
        coco = data.coco(split)
        self.data, self.split, self.image_size = data, split, image_size
        self.class_names = tuple(c["name"] for c in coco["categories"])
        self.category_ids = [int(c["id"]) for c in coco["categories"]]
        index = {category: i for i, category in enumerate(self.category_ids)}
        self.images = coco["images"]
        by_image: dict[int, list[dict[str, object]]] = {i["id"]: [] for i in self.images}
        for annotation in coco["annotations"]:
            if not annotation.get("iscrowd"):
                by_image[annotation["image_id"]].append(annotation)
        self.targets = [_targets(i, by_image[i["id"]], index) for i in self.images]
        fits = len(self.images) * 3 * image_size**2 <= CACHE_BYTES
        self._cache: list[Tensor | None] | None = [None] * len(self.images) if fits else None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def epoch_images(self) -> int:
        """How many images one epoch goes through."""
        return len(self)

    def step_positions(self, step: int, *, batch_size: int, seed: int) -> tuple[list[int], tuple[int, int]]:
        """Positions of a step's images, and the (epoch, place in it) that its augmentation is drawn from."""
        size = min(batch_size, len(self))
        epoch, place = divmod(step, len(self) // size)
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        return [int(p) for p in order[place * size : (place + 1) * size]], (epoch, place)

    def image(self, position: int) -> Tensor:
        """uint8 [3, S, S] RGB of the image at that position."""
        if self._cache is not None and (kept := self._cache[position]) is not None:
            return kept
        path = self.data.image_file(self.split, self.images[position]["file_name"])
        try:
            with Image.open(path) as opened:
                opened.draft("RGB", (self.image_size, self.image_size))
                size = (self.image_size, self.image_size)
                pixels = opened.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        except OSError as error:
            raise DataError(f"{path}: cannot be decoded ({error}); run taco-kd prepare again") from None
        tensor = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).contiguous()
        if self._cache is not None:
            self._cache[position] = tensor
        return tensor

    def batch(self, positions: list[int]) -> Batch:
        images = torch.stack([self.image(p) for p in positions])
        targets = [self.targets[p] for p in positions]
        return Batch(images, targets, tuple(positions), (False,) * len(positions))

    def in_order(self, batch_size: int, positions: Sequence[int] | None = None) -> Iterator[Batch]:
        """Every image once, as stored, or those at ``positions``: for evaluation."""
        wanted = list(range(len(self)) if positions is None else positions)
        for start in range(0, len(wanted), batch_size):
            yield self.batch(wanted[start : start + batch_size])


def training_batch(
    dataset: DetectionDataset, step: int, *, batch_size: int, seed: int, horizontal_flip: float
) -> Batch:
    """The batch of one step (from 0): shuffled each epoch, incomplete batches dropped.

    Images are mirrored at random. A pure function of its arguments, so a resumed run meets the same
    batches as an undisturbed one.
    """
    positions, (epoch, place) = dataset.step_positions(step, batch_size=batch_size, seed=seed)
    batch = dataset.batch(positions)
    turned = np.random.default_rng([seed, epoch, place, 1]).random(len(positions)) < horizontal_flip
    images, targets = batch.images, list(batch.targets)
    for i in np.flatnonzero(turned):
        images[i] = images[i].flip(-1)
        targets[i] = _mirrored(targets[i])
    return Batch(images, targets, batch.positions, tuple(turned.tolist()))


def _mirrored(targets: Targets) -> Targets:
    boxes = targets.boxes_cxcywh.clone()
    boxes[:, 0] = 1 - boxes[:, 0]
    return Targets(boxes, targets.class_ids, targets.image_id)


def _targets(image: dict[str, int], annotations: list[dict[str, object]], index: dict[int, int]) -> Targets:
    boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    boxes[:, :2] += boxes[:, 2:] / 2
    boxes /= [image["width"], image["height"], image["width"], image["height"]]
    classes = [index[int(str(a["category_id"]))] for a in annotations]
    return Targets(
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(classes, dtype=torch.long),
        int(image["id"]),
    )
