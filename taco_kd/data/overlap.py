"""Images that also lie in another set: the same bytes, or another copy of the same picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taco_kd.data.hash_search import close_pairs
from taco_kd.data.hashes import perceptual_hash
from taco_kd.data.pixel_check import MAX_CELL_DIFFERENCE, pixel_difference
from taco_kd.errors import DataError
from taco_kd.files import sha256_file
from taco_kd.runs import DataDir, Split

MAX_BITS = 4
"""64-bit perceptual hashes at most this far apart are looked at pixel by pixel"""
MAX_DIFFERENCE = 2 * MAX_CELL_DIFFERENCE
"""Twice what near-duplicates within a set may differ by: a copy that slips into training spoils a
measurement, an image left out in error costs nothing. A copy of 100 pixels differs by up to 36."""
_SIDE = 32


@dataclass(frozen=True)
class ImagePrint:
    """What an image is recognised by.

    Attributes:
        path: of the prepared image.
        hashes: sha256 of its file, and of the file it was made from where that is known.
        phash: [64] bits.
    """

    path: Path
    hashes: frozenset[str]
    phash: NDArray[np.bool_]

    def thumbnail(self) -> NDArray[np.uint8]:
        """[32, 32, 3] RGB, stretched."""
        with _opened(self.path) as image:
            return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX))

    def record(self) -> dict[str, Any]:
        return {"hashes": sorted(self.hashes), "phash": np.packbits(self.phash).tobytes().hex()}

    @classmethod
    def from_record(cls, path: Path, value: Mapping[str, Any]) -> ImagePrint:
        """What :meth:`record` wrote; ValueError where it is something else."""
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(value["phash"]), dtype=np.uint8))
        return cls(path, frozenset(value["hashes"]), bits.astype(np.bool_))


def print_of(path: Path, *more_hashes: str) -> ImagePrint:
    """The print of an image file.

    Raises:
        DataError: it is missing or cannot be decoded.
    """
    with _opened(path) as image:
        return ImagePrint(path, frozenset({sha256_file(path), *more_hashes}), perceptual_hash(image))


def prints_of_split(data: DataDir, split: Split) -> list[ImagePrint]:
    """Prints of all images of one split."""
    return [print_of(data.image_file(split, image["file_name"])) for image in data.coco(split)["images"]]


def copies(candidates: Sequence[ImagePrint], others: Sequence[ImagePrint]) -> dict[int, ImagePrint]:
    """For each candidate that shows the same picture as one of ``others``: which one."""
    if not candidates or not others:
        return {}
    by_hash = {digest: other for other in others for digest in other.hashes}
    near: dict[int, list[int]] = defaultdict(list)
    hashes = np.stack([each.phash for each in (*candidates, *others)])
    for first, second, _ in zip(*(column.tolist() for column in close_pairs(hashes, MAX_BITS)), strict=True):
        if first < len(candidates) <= second:
            near[first].append(second - len(candidates))
    found: dict[int, ImagePrint] = {}
    for place, candidate in enumerate(candidates):
        same = next((by_hash[digest] for digest in candidate.hashes if digest in by_hash), None)
        if same is None:
            close = [others[i] for i in sorted(near[place])]
            same = next((other for other in close if _same_pixels(candidate, other)), None)
        if same is not None:
            found[place] = same
    return found


def _same_pixels(a: ImagePrint, b: ImagePrint) -> bool:
    return pixel_difference(a.thumbnail(), b.thumbnail()) <= MAX_DIFFERENCE


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except OSError as error:
        raise DataError(f"{path}: cannot be decoded ({error})") from None
