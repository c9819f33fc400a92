"""A part of a split under its own name: the training images without those that are put aside, and these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from taco_kd.errors import UsageError
from taco_kd.runs import DataDir, Split

_HOLD_OUT = 3
"""Tells this draw from the others that are made with the seed of a run."""


@dataclass(frozen=True)
class PartialDataDir(DataDir):
    """A prepared dataset of whose ``split`` only some images are there; nothing on disk differs.

    Whatever is built of it (batches, sampling by class, an evaluation) cannot meet the other images.
    """

    split: Split = "train"
    image_ids: frozenset[int] = frozenset()

    def coco(self, split: Split) -> dict[str, Any]:
        """The split's COCO dictionary, in its order, without the images that are not of the part."""
        whole = super().coco(split)
        if split != self.split:
            return whole
        images = [image for image in whole["images"] if image["id"] in self.image_ids]
        annotations = [a for a in whole["annotations"] if a["image_id"] in self.image_ids]
        return {**whole, "images": images, "annotations": annotations}


def part_of(data: DataDir, split: Split, image_ids: frozenset[int]) -> PartialDataDir:
    return PartialDataDir(data.path, split, image_ids)


def put_aside(data: DataDir, share: float, seed: int) -> tuple[PartialDataDir, PartialDataDir]:
    """The training images that stay, and about ``share`` of them that do not.

    Images that the dataset says belong together (duplicates, batches, series, scenes: ``--group-by`` of
    taco-kd prepare) stay together. The same for the same data, share and seed.

    Raises:
        UsageError: one of the two parts would be without images.
    """
    images = data.coco("train")["images"]
    groups = _groups(images)
    wanted, aside = share * len(images), set[int]()
    for place in np.random.default_rng([seed, _HOLD_OUT]).permutation(len(groups)):
        # A group that is larger than what is still wanted is taken where that comes nearer to the share.
        if abs(len(aside) + len(groups[place]) - wanted) < abs(len(aside) - wanted):
            aside.update(groups[place])
    if not aside or len(aside) == len(images):
        joined = "" if len(groups) == len(images) else f" in {len(groups)} groups that stay together"
        nothing = "nothing to evaluate on" if not aside else "nothing to train on"
        raise UsageError(
            f"train.hold_out = {share:g} of {len(images)} training images{joined} leaves {nothing}: choose "
            "another share"
        )
    stay = frozenset(int(image["id"]) for image in images) - aside
    return part_of(data, "train", stay), part_of(data, "train", frozenset(aside))


def _groups(images: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Ids of images that belong together; an image without a group is one by itself."""
    found: dict[object, list[int]] = defaultdict(list)
    for image in images:
        key = ("image", image["id"]) if image.get("group") is None else ("group", image["group"])
        found[key].append(int(image["id"]))
    return list(found.values())
