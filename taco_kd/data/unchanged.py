"""Whether a prepared dataset is still what was prepared: asked before each training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from taco_kd.errors import DataError
from taco_kd.files import read_json, sha256_file, sha256_json
from taco_kd.runs import SPLITS, DataDir, Split

READ_BYTES = 1 << 30
"""As much of the images is read, a second or two of work; of a larger dataset images here and there."""


def check_unchanged(data: DataDir) -> None:
    """Refuse a dataset of which annotations or images are not those that its record is about.

    Images that are missing or damaged are no reason: training goes on without them, and names them. Datasets
    from before their hashes were kept are only counted.

    Raises:
        DataError: names the first file that changed.
    """
    record = data.record()
    if not data.hashes_file.is_file():
        _check_counts(data, record)
        return
    hashes = read_json(data.hashes_file)
    if sha256_json(hashes) != record["content_hash"]:
        raise _changed(data, data.hashes_file)
    of_split: Mapping[Split, Any] = {"train": hashes} if "images" in hashes else hashes
    for split in SPLITS:
        if split in of_split:
            _check_annotations(data, split, of_split[split]["annotations"])
    listed = [
        (data.image_file(split, name), digest)
        for split in SPLITS
        for name, digest in of_split.get(split, {"images": {}})["images"].items()
    ]
    changed = [file for file, digest in _sample(listed) if _hash(file) not in (digest, None)]
    replaced = [file for file in changed if _can_be_decoded(file)]
    if replaced:
        raise _changed(data, replaced[0])


def _check_annotations(data: DataDir, split: Split, digest: str) -> None:
    file = data.annotations_file(split)
    if not file.is_file():
        raise DataError(f"{file}: is missing; prepare the dataset again")
    if sha256_file(file) != digest:
        raise _changed(data, file)


def _check_counts(data: DataDir, record: Mapping[str, Any]) -> None:
    for split in SPLITS:
        coco, counts = data.coco(split), record["counts"][split]
        found = {"images": len(coco["images"]), "boxes": len(coco["annotations"])}
        for what, count in found.items():
            if count != counts[what]:
                raise DataError(
                    f"{data.annotations_file(split)}: has {count} {what} and had {counts[what]} when the "
                    "dataset was prepared; prepare it again"
                )


def _changed(data: DataDir, file: Path) -> DataError:
    return DataError(
        f"{file}: changed since {data.path} was prepared; restore it, or prepare the dataset again "
        "(taco-kd prepare --overwrite) and start a new run"
    )


def _sample(listed: Sequence[tuple[Path, str]]) -> Sequence[tuple[Path, str]]:
    """All files, or evenly spaced ones that together are about as large as may be read."""
    whole = sum(file.stat().st_size for file, _ in listed if file.is_file())
    return listed[:: max(1, -(-whole // READ_BYTES))]


def _hash(file: Path) -> str | None:
    try:
        return sha256_file(file)
    except OSError:
        return None


def _can_be_decoded(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            image.load()
    except Exception:  # decoders raise nearly anything on damaged files
        return False
    return True
