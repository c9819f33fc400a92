"""Which images belong together: shots of one scene, taken apart by no split and by no resample."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taco_kd.errors import DataError, UsageError
from taco_kd.evaluate.weighted_ap import Ints
from taco_kd.files import read_json

FEW_GROUPS = 30
"""With fewer groups the intervals are a rough guide."""

_FILE_KEYS = ("original_file_name", "file_name")


@dataclass(frozen=True)
class Groups:
    """Groups of images.

    Attributes:
        of_image: [I] number of each image's group, images by ascending id.
        source: what the images were grouped by, for people.
        number: groups.
    """

    of_image: Ints
    source: str
    number: int


def group_images(ground_truth: Mapping[str, Any], by: str) -> Groups:
    """Groups by a key of the image records, by a folder in their file names, or by a file.

    Args:
        by: the name of a key in every image record (``scene``); or a prefix of folder names: ``batch`` finds
            ``batch_3`` in ``batch_3/000010.jpg`` (of ``original_file_name`` if there is one); or the path of
            a ``.json`` or ``.csv`` file that gives a group to each image id or file name.

    Raises:
        UsageError: neither a key, nor a folder, nor such a file.
        DataError: the file cannot be read or lacks an image, or there is a single group.
    """
    images = sorted(ground_truth["images"], key=lambda image: image["id"])
    if Path(by).suffix in (".json", ".csv"):
        labels = _from_file(images, Path(by))
    elif all(by in image for image in images):
        labels = [_label(image[by]) for image in images]
    elif any(by in image for image in images):
        lacking = next(image for image in images if by not in image)
        raise DataError(f"ground truth: image {lacking['id']} has no {by!r}, which others have")
    else:
        labels = _from_folders(images, by)
    names = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    if len(names) < 2:
        raise DataError(
            f"--group-by {by}: all {len(images)} images are in one group ({labels[0]}); at least 2"
        )
    return Groups(np.array([names[label] for label in labels], dtype=np.int64), by, len(names))


def _from_folders(images: Sequence[Mapping[str, Any]], prefix: str) -> list[str]:
    folder = re.compile(rf"(?:^|/)({re.escape(prefix)}[^/]*)/")
    labels = []
    for image in images:
        name = _file_name(image)
        found = folder.search(name.replace("\\", "/"))
        if found is None:
            keys = sorted(set(images[0]) - {"id", "file_name", "width", "height", *_FILE_KEYS})
            raise UsageError(
                f"--group-by {prefix}: not a key of the image records ({', '.join(keys) or 'none'}), "
                f"and no folder {prefix}* in the file name {name!r}; or give a .json or .csv file"
            )
        labels.append(found.group(1))
    return labels


def _from_file(images: Sequence[Mapping[str, Any]], path: Path) -> list[str]:
    known = _json_groups(path) if path.suffix == ".json" else _csv_groups(path)
    labels = []
    for image in images:
        names = [str(image["id"]), *(str(image[key]) for key in _FILE_KEYS if key in image)]
        names += [Path(name).name for name in names[1:]]
        label = next((known[name] for name in names if name in known), None)
        if label is None:
            raise DataError(
                f"{path}: no group for image {image['id']} ({_file_name(image) or 'no file name'})"
            )
        labels.append(label)
    return labels


def _json_groups(path: Path) -> dict[str, str]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError(f"{path}: not a dictionary from image id or file name to group")
    if value and all(isinstance(members, list) for members in value.values()):
        return {str(member): str(group) for group, members in value.items() for member in members}
    return {str(image): _label(group) for image, group in value.items()}


def _csv_groups(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error})") from None
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise DataError(
                f"{path}: line {number}: {len(row)} columns; two are needed: image id or name, group"
            )
    return {image.strip(): group.strip() for image, group in rows}


def _file_name(image: Mapping[str, Any]) -> str:
    return str(next((image[key] for key in _FILE_KEYS if key in image), ""))


def _label(value: object) -> str:
    if isinstance(value, (str, int, float)):
        return str(value)
    raise DataError(f"group {value!r}: must be a name or a number")
