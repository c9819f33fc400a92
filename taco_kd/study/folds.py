"""K-fold datasets out of one: train and val are pooled, and each image is in the val split of one fold."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from taco_kd.data.staging import folder_that_becomes
from taco_kd.errors import DataError
from taco_kd.evaluate.groups import group_images
from taco_kd.files import read_json, sha256_file, sha256_json, write_json
from taco_kd.progress import Tick
from taco_kd.runs import SPLITS, DataDir, Split
from taco_kd.study.config import FoldsConfig

METHOD = 1
"""Number of the way images are assigned: raise it when the same input gives other folds."""

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


def make_folds(
    data: DataDir,
    out: Path,
    config: FoldsConfig,
    *,
    group_by: str | None = None,
    on_progress: Tick | None = None,
) -> tuple[DataDir, ...]:
    """The folds of ``data`` in ``out/fold0``, ``out/fold1``, ...; those that are there already are kept.

    Images are hard links to those of ``data``, or copies where its disk does not allow that.

    Raises:
        DataError: ``data`` cannot be pooled, has fewer groups than folds, or lacks an image.
        UsageError: nothing to group by.
    """
    coco = pooled(data)
    groups = groups_of(coco["images"], _duplicate_pairs(data), by=group_by)
    parts = assign(groups, count=config.count, seed=config.seed)
    hashes: dict[str, str] = {}
    made = []
    for index, val_ids in enumerate(parts):
        fold = DataDir(out / f"fold{index}")
        origin = {
            "method": METHOD,
            "index": index,
            "count": config.count,
            "seed": config.seed,
            "groups": len(groups),
            "group_by": group_by,
            "source": {"path": str(data.path.resolve()), "content_hash": data.content_hash},
        }
        if not _is_there(fold, origin):
            hashes = hashes or _hashes(data, coco["images"])
            with folder_that_becomes(fold.path) as partial:
                _write(DataDir(partial), data, coco, set(val_ids), origin, hashes)
        made.append(fold)
        if on_progress is not None:
            on_progress(index + 1, config.count, "folds")
    return tuple(made)


def _is_there(fold: DataDir, origin: Mapping[str, Any]) -> bool:
    if not fold.record_file.is_file():
        return False
    found = fold.record().get("fold") or {}
    return bool(found.get("source", {}).get("content_hash") == origin["source"]["content_hash"]) and all(
        found.get(key) == origin[key] for key in ("method", "index", "count", "seed", "groups", "group_by")
    )


def _duplicate_pairs(data: DataDir) -> list[list[int]]:
    if not data.duplicates_file.is_file():
        return []
    return [pair["image_ids"] for pair in read_json(data.duplicates_file).get("pairs", [])]


def _hashes(data: DataDir, images: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """sha256 of each image file by its name."""
    found = {}
    for image in images:
        file = data.image_file(image["split"], image["file_name"])
        if not file.is_file():
            raise DataError(
                f"{file}: no such image, although the annotations list it; prepare the data again"
            )
        found[image["file_name"]] = sha256_file(file)
    return found


def _write(
    fold: DataDir,
    data: DataDir,
    coco: Mapping[str, Any],
    val_ids: set[int],
    origin: Mapping[str, Any],
    hashes: Mapping[str, str],
) -> None:
    source = data.record()
    counts = dict(source["counts"])
    content = {}
    for split in SPLITS:
        part = _part(coco, split, val_ids)
        fold.images_dir(split).mkdir(parents=True)
        for image in part["images"]:
            name = image["file_name"]
            _link(data.image_file(image.pop("split"), name), fold.image_file(split, name))
        write_json(fold.annotations_file(split), part, indent=None)
        counts[split] = _counts(part)
        content[split] = {
            "annotations": sha256_file(fold.annotations_file(split)),
            "images": {image["file_name"]: hashes[image["file_name"]] for image in part["images"]},
        }
    if data.duplicates_file.is_file():
        shutil.copy2(data.duplicates_file, fold.duplicates_file)
    record = {
        **source,
        "counts": counts,
        "content_hash": sha256_json(content),
        "settings_hash": sha256_json(dict(origin)),  # so that it is never taken for what prepare made
        "fold": dict(origin),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    write_json(fold.record_file, record)


def _part(coco: Mapping[str, Any], split: Split, val_ids: set[int]) -> dict[str, Any]:
    images = [dict(i) for i in coco["images"] if (i["id"] in val_ids) == (split == "val")]
    images.sort(key=lambda image: int(image["id"]))
    kept = {image["id"] for image in images}
    return {
        **coco,
        "images": images,
        "annotations": [a for a in coco["annotations"] if a["image_id"] in kept],
    }


def _counts(part: Mapping[str, Any]) -> dict[str, Any]:
    boxes = Counter(annotation["category_id"] for annotation in part["annotations"])
    return {
        "images": len(part["images"]),
        "boxes": boxes.total(),
        "boxes_per_class": {category["name"]: boxes[category["id"]] for category in part["categories"]},
    }


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:  # another disk, or one without hard links
        shutil.copy2(file, place)
