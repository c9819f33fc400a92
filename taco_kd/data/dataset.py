"""A prepared dataset as batches of tensors, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from taco_kd.data.batch import WHOLE, Batch
from taco_kd.data.sampling import Sampling, epoch_order, repeat_factors
from taco_kd.errors import DataError
from taco_kd.runs import DataDir, Split
from taco_kd.types import Targets

CACHE_BYTES = 2 << 30
"""Decoded images are kept in memory while all of them together stay under this."""

Outline = tuple[np.ndarray, ...]
"""The polygons of an object, each [K, 2] x, y as fractions of the image; none where it has only a box."""


class UnreadableImageError(DataError):
    """An image of the dataset that is missing or damaged.

    Attributes:
        file: where it should be.
    """

    def __init__(self, message: str, file: str) -> None:
        super().__init__(message)
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.file)


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
        self.outlines = [_outlines(i, by_image[i["id"]]) for i in self.images]
        """of each image, the outline of each of its targets"""
        self._factors: dict[Sampling, np.ndarray] = {}
        self.keep_in_memory(CACHE_BYTES)

    def __getstate__(self) -> dict[str, Any]:
        """What a loading process is sent: without decoded images, and in few arrays, since each tensor would
        travel in shared memory of its own."""
        boxes = [t.boxes_cxcywh.numpy() for t in self.targets]
        classes = [t.class_ids.numpy() for t in self.targets]
        packed = (np.concatenate(boxes), np.concatenate(classes), [len(c) for c in classes])
        return {**self.__dict__, "targets": (*packed, [t.image_id for t in self.targets]), "_cache": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        boxes, classes, counts, ids = state["targets"]
        each = zip(*(torch.split(torch.from_numpy(a), counts) for a in (boxes, classes)), ids, strict=True)
        self.__dict__.update(state, targets=[Targets(*one) for one in each])

    def keep_in_memory(self, limit_bytes: int) -> None:
        """Keep decoded images from now on, if all of them together stay under the limit."""
        self._cache: list[Tensor | None] | None = None
        if self.decoded_bytes <= limit_bytes:
            self._cache = [None] * len(self.images)

    @property
    def decoded_bytes(self) -> int:
        """What all images take in memory."""
        return len(self.images) * 3 * self.image_size**2

    def __len__(self) -> int:
        return len(self.images)

    @property
    def epoch_images(self) -> int:
        """How many images one epoch goes through."""
        return len(self)

    def step_positions(
        self, step: int, *, batch_size: int, seed: int, sampling: Sampling | None = None
    ) -> tuple[list[int], tuple[int, int]]:
        """Positions of a step's images, and the (epoch, place in it) that its augmentation is drawn from.

        Args:
            sampling: how often each image is seen; equally often by default.
        """
        size = min(batch_size, len(self))
        epoch, place = divmod(step, len(self) // size)
        order = epoch_order(len(self), [seed, epoch], self.factors(sampling))
        return [int(p) for p in order[place * size : (place + 1) * size]], (epoch, place)

    def factors(self, sampling: Sampling | None) -> np.ndarray | None:
        """How much more often than others each image is to be seen; None where all are alike."""
        if sampling is None:
            return None
        if sampling not in self._factors:
            shown = [np.unique(t.class_ids.numpy()) for t in self.targets]
            self._factors[sampling] = repeat_factors(shown, len(self.class_names), sampling.below)
        return self._factors[sampling]

    def alike(self, position: int) -> range:
        """Positions of images labelled in the same way: those that the image may be mixed with."""
        del position
        return range(len(self))

    @cached_property
    def outlined(self) -> list[int]:
        """Positions of images with an object whose outline is known."""
        return [place for place, outlines in enumerate(self.outlines) if any(outlines)]

    def file(self, position: int) -> str:
        """Path of the image at that position."""
        return str(self.data.image_file(self.split, self.images[position]["file_name"]))

    def image(self, position: int) -> Tensor:
        """uint8 [3, S, S] RGB of the image at that position.

        Raises:
            UnreadableImageError: it is missing or damaged.
        """
        if self._cache is not None and (kept := self._cache[position]) is not None:
            return kept
        path = self.file(position)
        try:
            with Image.open(path) as opened:
                opened.draft("RGB", (self.image_size, self.image_size))
                size = (self.image_size, self.image_size)
                pixels = opened.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        except Exception as error:  # decoders raise nearly anything on damaged files
            raise UnreadableImageError(
                f"{path}: cannot be decoded ({_reason(error)}); run taco-kd prepare again", path
            ) from None
        tensor = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).contiguous()
        if self._cache is not None:
            self._cache[position] = tensor
        return tensor

    def batch(self, positions: list[int]) -> Batch:
        images = torch.stack([self.image(p) for p in positions])
        count = len(positions)
        return Batch(
            images,
            [self.targets[p] for p in positions],
            positions=tuple(positions),
            mirrored=(False,) * count,
            indices=tuple(range(count)),
            augmented=(False,) * count,
            windows=(WHOLE,) * count,
        )

    def in_order(self, batch_size: int, positions: Sequence[int] | None = None) -> Iterator[Batch]:
        """Every image once, as stored, or those at ``positions``: for evaluation."""
        wanted = list(range(len(self)) if positions is None else positions)
        for start in range(0, len(wanted), batch_size):
            yield self.batch(wanted[start : start + batch_size])


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


def _outlines(image: dict[str, int], annotations: list[dict[str, Any]]) -> list[Outline]:
    side = np.array([image["width"], image["height"]])
    return [
        tuple(
            (np.array(polygon, dtype=np.float64).reshape(-1, 2) / side).astype(np.float32)
            for polygon in annotation.get("segmentation") or ()
        )
        if isinstance(annotation.get("segmentation"), list)
        else ()
        for annotation in annotations
    ]


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return (str(error) or type(error).__name__).splitlines()[0]
