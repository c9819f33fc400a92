"""The batch of a step: a pure function of dataset, settings and step, whichever process makes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from taco_kd.config import TrainConfig
from taco_kd.config.augment import SIDE_STEP
from taco_kd.data.augmentation import View, as_stored, view
from taco_kd.data.batch import Batch, mirrored_targets
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.sample import Reader
from taco_kd.data.sampling import Sampling
from taco_kd.errors import UsageError

_MIRROR, _VIEW, _SIDE = 1, 3, 4  # what is drawn; 2 is the order of pseudo-labelled images


@dataclass(frozen=True)
class Batches:
    """The batches of a run.

    Args:
        dataset: the training images.
        config: batch size, seed, augmentation and sampling.
        steps_total: length of the run, before whose end strong augmentation may stop.
        rank, world: which process this is, of how many; each makes a part of every batch.

    Raises:
        UsageError: strong augmentation would stop before the first epoch, or needs outlines that there are
            none of.
    """

    dataset: DetectionDataset
    config: TrainConfig
    steps_total: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        check_stop(self.config, self.dataset.epoch_images, self.steps_total)
        if self.config.augment.copy_paste and not self.dataset.outlined:
            raise UsageError(
                f"train.augment.copy_paste = {self.config.augment.copy_paste:g}: the objects of "
                f"{self.dataset.data.path} have boxes but no outlines (COCO polygons) "
                "to cut them out by; set it to 0"
            )

    @property
    def strong_steps(self) -> int:
        """How many steps have strong augmentation."""
        stop = self.config.augment.stop_epochs
        return self.steps_total - stop * steps_per_epoch(self.config, self.dataset.epoch_images)

    def side(self, step: int) -> int:
        """Of the images of the step, in all processes."""
        scales = self.config.augment.multi_scale
        if scales is None or step >= self.strong_steps:
            return self.dataset.image_size
        rng = np.random.default_rng([self.config.seed, step, _SIDE])
        return int(rng.integers(scales[0] // SIDE_STEP, scales[1] // SIDE_STEP + 1)) * SIDE_STEP

    def batch(self, step: int) -> Batch:
        """This process's images of a step, from 0, and what was done to each.

        Images are shuffled in each epoch and incomplete batches dropped. Where an image cannot be read the
        next one that can be is in its place.

        Raises:
            UnreadableImageError: not one image can be read.
        """
        config, dataset = self.config, self.dataset
        positions, (epoch, place) = dataset.step_positions(
            step, batch_size=config.batch_size, seed=config.seed, sampling=sampling_of(config)
        )
        turned = np.random.default_rng([config.seed, epoch, place, _MIRROR]).random(len(positions))
        own = np.array_split(np.arange(len(positions)), self.world)[self.rank].tolist()
        reader = Reader(dataset)
        with one_thread() if config.augment.on else nullcontext():
            views = [self._view(step, index, positions[index], reader) for index in own]
            mirrored = [bool(turned[index] < config.horizontal_flip) for index in own]
            return _joined(views, mirrored, own, reader, self.side(step), dataset.image_size)

    def _view(self, step: int, index: int, position: int, reader: Reader) -> View:
        augment = self.config.augment
        if not augment.on:
            return as_stored(self.dataset, position, reader)
        rng = np.random.default_rng([self.config.seed, step, index, _VIEW])
        return view(self.dataset, position, augment, rng, reader, strong=step < self.strong_steps)


def _joined(
    views: list[View], mirrored: list[bool], indices: list[int], reader: Reader, side: int, own_side: int
) -> Batch:
    images = torch.empty(len(views), 3, own_side, own_side, dtype=torch.uint8)
    for place, (each, turn) in enumerate(zip(views, mirrored, strict=True)):
        images[place] = each.image.flip(-1) if turn else each.image
    if side != own_side:
        images = (
            F.resize(images, [side, side], antialias=True) if views else images.new_empty(0, 3, side, side)
        )
    return Batch(
        images,
        [mirrored_targets(v.targets) if turn else v.targets for v, turn in zip(views, mirrored, strict=True)],
        positions=tuple(v.position for v in views),
        mirrored=tuple(mirrored),
        indices=tuple(indices),
        augmented=tuple(v.augmented or side != own_side for v in views),
        windows=tuple(v.window for v in views),
        quarantined=tuple(reader.quarantined),
    )


def sampling_of(config: TrainConfig) -> Sampling | None:
    """How often each image is seen; None for equally often."""
    return None if config.sampling == "uniform" else Sampling(config.balance_below)


def steps_per_epoch(config: TrainConfig, images: int) -> int:
    """Steps in which that many images are seen once; an incomplete last batch is dropped."""
    return images // min(config.batch_size, images)


def check_stop(config: TrainConfig, images: int, steps_total: int) -> None:
    """Refuse a stop of strong augmentation that leaves no epoch of it, or comes before the beginning.

    Raises:
        UsageError: names both numbers.
    """
    stop, epochs = config.augment.stop_epochs, steps_total / steps_per_epoch(config, images)
    if stop and epochs - stop < 1:
        whole = f"{epochs:.1f}".removesuffix(".0")
        raise UsageError(
            f"train.augment.stop_epochs = {stop}, but the run has {whole} epochs ({steps_total} steps of "
            f"{min(config.batch_size, images)} of {images} images): strong augmentation "
            "would not have one whole epoch; lower stop_epochs, or train longer"
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch, as loading processes have it: sums over an image round otherwise with more.

    Not where nothing is summed: a change of the number makes torch forget its prepared convolutions, which
    cost a step of a nano YOLO 4 %.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
