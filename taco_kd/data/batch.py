"""Some images of a dataset as a step takes them, and how each of them came to be."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from taco_kd.types import Targets

Window = tuple[float, float, float, float]
"""The part of the stored image that a view shows, x0, y0, x1, y1, as fractions of the stored image; where it
reaches over the edge the view is black."""

WHOLE: Window = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Batch:
    """Some images of a dataset.

    Attributes:
        images: uint8 [B, 3, S, S] RGB.
        targets: one per image.
        positions: [B] places of the images in the dataset.
        mirrored: [B] whether the image, with its boxes, is mirrored left to right.
        indices: [B] places of the images in the step's batch, which several processes may share.
        augmented: [B] whether more was done to the image than to mirror it.
        windows: [B] the part of the stored image that is seen, before it is mirrored; None where the image
            is put together from several.
        quarantined: files that could not be read, in whose place others are here.
    """

    images: Tensor
    targets: list[Targets]
    positions: tuple[int, ...]
    mirrored: tuple[bool, ...]
    indices: tuple[int, ...]
    augmented: tuple[bool, ...]
    windows: tuple[Window | None, ...]
    quarantined: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    def part(self, start: int, stop: int) -> Batch:
        """The images from ``start`` to before ``stop``, without copying pixels."""
        cut = slice(start, stop)
        return replace(
            self,
            images=self.images[cut],
            targets=self.targets[cut],
            positions=self.positions[cut],
            mirrored=self.mirrored[cut],
            indices=self.indices[cut],
            augmented=self.augmented[cut],
            windows=self.windows[cut],
        )


def mirrored_targets(targets: Targets) -> Targets:
    """The boxes of an image that is mirrored left to right."""
    boxes = targets.boxes_cxcywh.clone()
    boxes[:, 0] = 1 - boxes[:, 0]
    return Targets(boxes, targets.class_ids, targets.image_id)
