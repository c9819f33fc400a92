"""What is done to a training image: mosaic, copy-paste, photometric distortion, zoom-out, crop, in turn.

Everything random is drawn from the generator of the image, so that no process, worker or order matters. The
transforms are torchvision's (transforms.v2), with the settings of RT-DETR (arXiv:2304.08069).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from taco_kd.config import AugmentConfig
from taco_kd.data.batch import WHOLE, Window
from taco_kd.data.copy_paste import paste
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.iou_crop import IoUCrop
from taco_kd.data.mosaic import mosaic
from taco_kd.data.sample import Reader, Sample, cut_image
from taco_kd.types import Targets


@dataclass(frozen=True)
class View:
    """An image as a step sees it.

    Attributes:
        image: uint8 [3, S, S] RGB.
        position: its place in the dataset; of a mosaic, that of the first of the four.
        augmented: whether anything was done to it.
        window: the part of the stored image that is seen; None where it is put together from several.
    """

    image: Tensor
    targets: Targets
    position: int
    augmented: bool = False
    window: Window | None = WHOLE


def as_stored(dataset: DetectionDataset, position: int, reader: Reader) -> View:
    """The image at ``position`` as it is stored, or the next one that can be read.

    Raises:
        UnreadableImageError: no image can be read.
    """
    place, image = reader.read(position)
    return View(image, dataset.targets[place], place)


def view(
    dataset: DetectionDataset,
    position: int,
    config: AugmentConfig,
    rng: np.random.Generator,
    reader: Reader,
    *,
    strong: bool,
) -> View:
    """The image at ``position``, augmented by what ``rng`` draws.

    Args:
        reader: puts another image in the place of one that cannot be read.
        strong: whether more than photometric distortion is on.

    Raises:
        UnreadableImageError: no image can be read.
    """
    plain = as_stored(dataset, position, reader)
    place, image = plain.position, plain.image
    chances = rng.random(5)
    seed = int(rng.integers(2**63))
    mixes, pastes, zooms, cuts = (
        strong and chance < probability
        for chance, probability in zip(
            chances, (config.mosaic, config.copy_paste, config.zoom_out, config.iou_crop), strict=False
        )
    )
    distorts = chances[4] < config.photometric
    if not (mixes or pastes or zooms or cuts or distorts):
        return plain
    sample = whole = Sample.of(image, plain.targets, dataset.outlines[place])
    if mixes:
        sample = mosaic([sample, *_others(dataset, place, 3, rng, reader)], rng)
    if pastes and (source := _with_outlines(dataset, rng, reader)) is not None:
        sample = paste(sample, source, rng)
    window: Window | None = WHOLE if sample is whole else None
    with drawing_from(seed):
        if distorts:
            distort = v2.RandomPhotometricDistort()
            sample = replace(sample, image=distort(sample.image))
        if (zooms or cuts) and not mixes:
            sample, seen = zoomed_and_cut(sample, config, zooms=zooms, cuts=cuts)
            window = seen if window is not None else None
    if sample is whole:
        return plain
    same_boxes = window == WHOLE
    targets = plain.targets if same_boxes else sample.targets(plain.targets.image_id)
    return View(sample.image, targets, place, True, window)


def zoomed_and_cut(
    sample: Sample, config: AugmentConfig, *, zooms: bool, cuts: bool
) -> tuple[Sample, Window]:
    """The image zoomed out, then cut, at its own size again, and the part of it that is seen.

    Objects whose centre is cut off go, as SSD has it, and those of which less than a pixel is left. Draws
    from torch's generator.
    """
    height, width = sample.image.shape[-2:]
    boxes = tv_tensors.BoundingBoxes(sample.boxes_xyxy, format="XYXY", canvas_size=(height, width))
    left = top = 0
    if zooms:
        zoom: Any = v2.RandomZoomOut(side_range=(1.0, config.zoom_out_max), p=1.0)
        drawn = zoom.make_params([boxes])
        boxes = zoom.transform(boxes, drawn)
        left, top = -drawn["padding"][0], -drawn["padding"][1]
    if cuts and len(boxes):
        crop: Any = IoUCrop()
        drawn = crop.make_params([boxes])
        if drawn:
            boxes = crop.transform(boxes, drawn)
            left, top = left + drawn["left"], top + drawn["top"]
    down, across = boxes.canvas_size
    seen = (left, top, left + across, top + down)
    if seen == (0, 0, width, height):
        return sample, WHOLE
    boxes = F.clamp_bounding_boxes(F.resize(boxes, [height, width]))
    boxes, kept = F.sanitize_bounding_boxes(boxes)
    return (
        Sample(
            cut_image(sample.image, seen, (height, width)),
            boxes.as_subclass(Tensor),
            sample.class_ids[kept],
            tuple(outline for outline, stays in zip(sample.outlines, kept.tolist(), strict=True) if stays),
        ),
        (seen[0] / width, seen[1] / height, seen[2] / width, seen[3] / height),
    )


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """What is drawn from torch's generator in the block follows from ``seed``, and changes nothing after it.

    Generators of GPUs are left alone: to seed them too would depend on which process this is.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _others(
    dataset: DetectionDataset, position: int, count: int, rng: np.random.Generator, reader: Reader
) -> list[Sample]:
    """Images labelled in the same way, drawn evenly."""
    among = dataset.alike(position)
    return [reader.sample(among[int(place)])[1] for place in rng.integers(len(among), size=count)]


def _with_outlines(dataset: DetectionDataset, rng: np.random.Generator, reader: Reader) -> Sample | None:
    """An image with outlined objects, drawn evenly; None where what is read in its place has none."""
    found = dataset.outlined
    if not found:
        return None
    _, sample = reader.sample(found[int(rng.integers(len(found)))])
    return sample if any(sample.outlines) else None
