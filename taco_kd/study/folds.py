"""K-fold datasets out of one: train and val are pooled, and each image is in the val split of one fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from taco_kd.errors import DataError
from taco_kd.evaluate.groups import group_images
from taco_kd.runs import SPLITS, DataDir

GROUP_KEYS = ("group", "scene")
"""Keys of a COCO image by which images that show the same place can be known."""


def pooled(data: DataDir) -> dict[str, Any]:
    """COCO dictionary of train and val together; images say in ``split`` where their file lies.

    Raises:
        DataError: the two share an image id or a file name, or list other categories.
    """
    parts = {split: data.coco(split) for split in SPLITS}
    images = [{**image, "split": split} for split in SPLITS for image in parts[split]["images"]]
    for key in ("id", "file_name"):
        value, count = Counter(image[key] for image in images).most_common(1)[0]
        if count > 1:
            raise DataError(
                f"{data.path}: two images have the {key} {value!r}: train and val cannot be pooled"
            )
    if parts["train"]["categories"] != parts["val"]["categories"]:
        raise DataError(f"{data.path}: train and val list other categories; prepare it again")
    annotations = [annotation for split in SPLITS for annotation in parts[split]["annotations"]]
    # Ids of annotations need only be unique; those of two files may not be.
    annotations = [{**annotation, "id": number} for number, annotation in enumerate(annotations, start=1)]
    return {**parts["train"], "images": images, "annotations": annotations}


def groups_of(
    images: Sequence[Mapping[str, Any]], pairs: Iterable[Sequence[int]] = (), *, by: str | None = None
) -> list[list[int]]:
    """Ids of images that must stay together: equal ``group`` or ``scene``, or a pair of near-duplicates.

    Args:
        by: and what :func:`taco_kd.evaluate.groups.group_images` puts together.
    """
    ids = sorted(int(image["id"]) for image in images)
    sets = DisjointSet(ids)
    first: dict[tuple[str, object], int] = {}
    for image in sorted(images, key=lambda image: int(image["id"])):
        for key in GROUP_KEYS:
            if image.get(key) is not None:
                sets.merge(first.setdefault((key, image[key]), int(image["id"])), int(image["id"]))
    if by is not None:
        of_image = group_images({"images": images}, by).of_image
        members = {int(group): image_id for group, image_id in zip(of_image, ids, strict=True)}
        pairs = [*pairs, *((members[int(group)], i) for group, i in zip(of_image, ids, strict=True))]
    for one, other in pairs:
        if one in sets and other in sets:
            sets.merge(one, other)
    return sorted(sorted(members) for members in sets.subsets())


def assign(groups: Sequence[Sequence[int]], *, count: int, seed: int) -> list[list[int]]:
    """Image ids of the val split of each fold: groups are shuffled, and the largest are placed first.

    The folds differ in size by no more than the largest group, and without groups by one image.

    Raises:
        DataError: fewer groups than folds.
    """
    if len(groups) < count:
        raise DataError(f"{len(groups)} groups of images cannot be cut into {count} folds")
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(groups))]
    order.sort(key=lambda index: -len(groups[index]))  # stable: keeps the shuffled order of equal sizes
    folds: list[list[int]] = [[] for _ in range(count)]
    for index in order:
        min(folds, key=len).extend(groups[index])
    return [sorted(fold) for fold in folds]
