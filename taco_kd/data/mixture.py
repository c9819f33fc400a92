"""Labelled and pseudo-labelled images in one training set, each step with a fixed share of both.

The weight is a share of images, not of the loss: it means the same for every model and every distillation,
whose losses are of a whole batch, and a step costs what it costs without pseudo-labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.overlap import ImagePrint, copies, prints_of_split
from taco_kd.data.part import part_of
from taco_kd.data.sampling import Sampling, epoch_order
from taco_kd.errors import DataError, UsageError
from taco_kd.files import read_json
from taco_kd.runs import DataDir
from taco_kd.types import Targets

KIND = "pseudo"
"""what the record of a pseudo-labelled dataset says it is"""
PRINTS = "prints.json"
"""what its images are recognised by"""
_PSEUDO = 2  # tells the order of the pseudo-labelled images from that of the others


class MixedDataset(DetectionDataset):
    """The train split of a dataset and of its pseudo-labels, one after the other.

    Args:
        labelled: images with true labels; an epoch is one pass over as many images.
        pseudo: images with pseudo-labels of the same classes.
        weight: share of the pseudo-labelled images among those of every step, above 0 and below 1.
    """

    def __init__(self, labelled: DetectionDataset, pseudo: DetectionDataset, weight: float) -> None:
        self.data, self.split, self.image_size = labelled.data, labelled.split, labelled.image_size
        self.class_names, self.category_ids = labelled.class_names, labelled.category_ids
        self.images = [*labelled.images, *pseudo.images]
        # Ids of the two sets would meet: those of the pseudo-labelled images are made negative.
        others = [Targets(t.boxes_cxcywh, t.class_ids, -1 - t.image_id) for t in pseudo.targets]
        self.targets = [*labelled.targets, *others]
        self.outlines = [*labelled.outlines, *pseudo.outlines]
        self._parts, self.weight = (labelled, pseudo), weight

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self._parts, self.weight)

    def keep_in_memory(self, limit_bytes: int) -> None:
        for part in self._parts:
            part.keep_in_memory(limit_bytes * len(part) // len(self))

    @property
    def epoch_images(self) -> int:
        return len(self._parts[0])

    def image(self, position: int) -> Tensor:
        part, place = self._place(position)
        return part.image(place)

    def file(self, position: int) -> str:
        part, place = self._place(position)
        return part.file(place)

    def alike(self, position: int) -> range:
        border = len(self._parts[0])
        return range(border) if position < border else range(border, len(self))

    def _place(self, position: int) -> tuple[DetectionDataset, int]:
        labelled, pseudo = self._parts
        return (labelled, position) if position < len(labelled) else (pseudo, position - len(labelled))

    def step_positions(
        self, step: int, *, batch_size: int, seed: int, sampling: Sampling | None = None
    ) -> tuple[list[int], tuple[int, int]]:
        """Images of a step: ``weight`` of them pseudo-labelled, in the long run exactly.

        Each set is gone through in an order of its own, made anew whenever it has been used up.
        """
        labelled, pseudo = self._parts
        before, after = (int(n * batch_size * self.weight + 1e-9) for n in (step, step + 1))
        first = step * batch_size - before
        own = _stream(first, batch_size - (after - before), labelled, [seed], sampling)
        others = _stream(before, after - before, pseudo, [seed, _PSEUDO], sampling)
        return [*own, *(len(labelled) + p for p in others)], (step, 0)


def _stream(
    start: int, count: int, part: DetectionDataset, seed: list[int], sampling: Sampling | None
) -> list[int]:
    """Elements ``start`` to ``start + count`` of an endless sequence of shuffled passes over ``part``."""
    orders: dict[int, list[int]] = {}
    found = []
    for place in range(start, start + count):
        lap, at = divmod(place, len(part))
        if lap not in orders:
            orders[lap] = epoch_order(len(part), [*seed, lap], part.factors(sampling)).tolist()
        found.append(int(orders[lap][at]))
    return found


def mixed_with_pseudo(
    labelled: DetectionDataset, pseudo_path: Path, weight: float, aside: DataDir | None = None
) -> tuple[MixedDataset, DataDir]:
    """``labelled`` with the pseudo-labels in a folder that ``taco-kd pseudo-label`` wrote.

    Args:
        aside: its training images are put aside; pseudo-labelled copies of them are left out.

    Raises:
        DataError: no such folder, other classes, or one of its images lies in the validation split of
            ``labelled``'s data: labels made up for it would leak into the measurement.
        UsageError: a weight out of range.
    """
    if not 0 < weight < 1:
        raise UsageError(f"pseudo.weight is {weight:g}: it is a share of the images, above 0 and below 1")
    pseudo, data = DataDir.open(pseudo_path), labelled.data
    record = pseudo.record()
    if record.get("kind") != KIND:
        raise DataError(f"{pseudo_path}: is no pseudo-labelled dataset; make one with taco-kd pseudo-label")
    if tuple(record["class_names"]) != data.class_names:
        raise DataError(
            f"{pseudo_path}: its classes are not those of {data.path}; label the images with "
            f"--validation {data.path}"
        )
    if record["validation"]["content_hash"] != data.content_hash:
        _refuse_validation_images(pseudo, data)
    images = DetectionDataset(_without_copies(pseudo, aside), "train", labelled.image_size)
    if len(images) == 0:
        raise DataError(f"{pseudo_path}: holds no image that could be trained on")
    return MixedDataset(labelled, images, weight), pseudo


def _without_copies(pseudo: DataDir, aside: DataDir | None) -> DataDir:
    if aside is None:
        return pseudo
    prints = _prints(pseudo)
    found = copies(prints, prints_of_split(aside, "train"))
    if not found:
        return pseudo
    left_out = {prints[place].path.name for place in found}
    images = pseudo.coco("train")["images"]
    return part_of(pseudo, "train", frozenset(i["id"] for i in images if i["file_name"] not in left_out))


def _refuse_validation_images(pseudo: DataDir, data: DataDir) -> None:
    prints = _prints(pseudo)
    leaked = copies(prints, prints_of_split(data, "val"))
    if leaked:
        place, other = next(iter(leaked.items()))
        raise DataError(
            f"{pseudo.path}: {len(leaked)} of its images lie in the validation split of {data.path} (first: "
            f"{prints[place].path.name} is {other.path.name}); label the images with --validation {data.path}"
        )


def _prints(pseudo: DataDir) -> list[ImagePrint]:
    """What the images of pseudo-labelled data are recognised by; DataError where that cannot be read."""
    file = pseudo.path / PRINTS
    found = read_json(file)
    try:
        return [
            ImagePrint.from_record(pseudo.image_file("train", name), value) for name, value in found.items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DataError(f"{file}: is damaged; label the images again") from None
