"""An image with its objects while it is augmented, in pixels, and the cuts that several transforms make."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from taco_kd.data.dataset import DetectionDataset, Outline, UnreadableImageError
from taco_kd.types import Targets

MIN_VISIBLE = 0.1
"""An object of which a cut, or objects pasted over it, leave a smaller share is no longer labelled."""


@dataclass(frozen=True)
class Sample:
    """An image and its objects.

    Attributes:
        image: uint8 [3, H, W] RGB.
        boxes_xyxy: float32 [N, 4] corners in its pixels.
        class_ids: [N].
        outlines: of each object, its polygons in fractions of the image; none where they are not known.
    """

    image: Tensor
    boxes_xyxy: Tensor
    class_ids: Tensor
    outlines: tuple[Outline, ...]

    @classmethod
    def of(cls, image: Tensor, targets: Targets, outlines: list[Outline]) -> Sample:
        return cls(image, pixel_boxes(targets.boxes_cxcywh, image), targets.class_ids, tuple(outlines))

    def targets(self, image_id: int) -> Targets:
        """The objects as a model takes them."""
        height, width = self.image.shape[-2:]
        corners = self.boxes_xyxy / torch.tensor([width, height, width, height])
        centre, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        return Targets(torch.cat([centre, size], dim=1), self.class_ids, image_id)


class Reader:
    """Reads images of a dataset for one step, and others in place of those that cannot be read.

    Attributes:
        quarantined: files that could not be read, in the order in which they were met.
    """

    def __init__(self, dataset: DetectionDataset) -> None:
        self._dataset = dataset
        self.quarantined: dict[str, None] = {}

    def read(self, position: int) -> tuple[int, Tensor]:
        """The image at ``position``, or at the next one that can be read among those labelled alike, uint8
        [3, S, S], and where it is.

        Raises:
            UnreadableImageError: none of them can be read.
        """
        among = self._dataset.alike(position)
        for steps in range(len(among)):
            place = among[(position - among.start + steps) % len(among)]
            try:
                return place, self._dataset.image(place)
            except UnreadableImageError as error:
                self.quarantined[error.file] = None
                last = error
        raise UnreadableImageError(
            f"{last.file}: not one of the {len(among)} images can be read; run taco-kd prepare again",
            last.file,
        )

    def sample(self, position: int) -> tuple[int, Sample]:
        """The same with its objects."""
        place, image = self.read(position)
        return place, Sample.of(image, self._dataset.targets[place], self._dataset.outlines[place])


def pixel_boxes(boxes_cxcywh: Tensor, image: Tensor) -> Tensor:
    """[N, 4] corners in pixels of ``image`` of boxes in fractions of it."""
    height, width = image.shape[-2:]
    centre, half = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=1) * torch.tensor([width, height, width, height])


def cut_image(image: Tensor, window: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """The part x0, y0, x1, y1 of an image, black where it is over the edge, at ``size`` height, width."""
    x0, y0, x1, y1 = window
    part: Tensor = F.resized_crop(image, y0, x0, y1 - y0, x1 - x0, list(size), antialias=True)
    return part


def cut_boxes(
    boxes_xyxy: Tensor, window: tuple[int, int, int, int], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Boxes where they are in such a part, clipped to it, and the share of each that is left, [N] in 0..1."""
    x0, y0, x1, y1 = window
    height, width = size
    inside = torch.stack(
        [
            (boxes_xyxy[:, 0::2] - x0).clamp(0, x1 - x0) * (width / (x1 - x0)),
            (boxes_xyxy[:, 1::2] - y0).clamp(0, y1 - y0) * (height / (y1 - y0)),
        ],
        dim=2,
    ).flatten(1)
    scale = (width / (x1 - x0)) * (height / (y1 - y0))
    return inside, areas(inside) / (areas(boxes_xyxy) * scale).clamp(min=1e-9)


def areas(boxes_xyxy: Tensor) -> Tensor:
    """[N] areas in square pixels."""
    return (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
