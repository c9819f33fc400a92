"""K-fold datasets on disk: each is a prepared dataset like any other, its images linked to the source's."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from taco_kd.data.staging import folder_that_becomes
from taco_kd.errors import DataError
from taco_kd.files import read_json, sha256_file, sha256_json, write_json
from taco_kd.progress import Tick
from taco_kd.runs import SPLITS, DataDir, Split
from taco_kd.study.config import FoldsConfig
from taco_kd.study.folds import assign, groups_of, pooled

METHOD = 1
"""Number of the way images are assigned: raise it when the same input gives other folds."""


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
    write_json(fold.hashes_file, content, indent=None)
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
