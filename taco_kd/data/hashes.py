"""Perceptual hashes of upright images: one line in ``HASHES`` for each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taco_kd.errors import UsageError, chosen

HashName = Literal["phash", "dhash", "whash"]

_SIDE = 128
"""Hashes are taken from a grey image of this side or four cells to a bit, whichever is more: they then hardly
depend on the scale a JPEG was decoded at, and cost the same for every photograph."""

HASHES: dict[HashName, Callable[[Image.Image, int], imagehash.ImageHash]] = {
    # low frequencies of a cosine transform against their median
    "phash": lambda grey, size: imagehash.phash(grey, hash_size=size),
    # is a cell brighter than its left neighbour
    "dhash": lambda grey, size: imagehash.dhash(grey, hash_size=size),
    # low band of a Haar wavelet transform against its median
    "whash": lambda grey, size: imagehash.whash(grey, hash_size=size, image_scale=grey.width),
}


def check_hash(name: str, size: int) -> None:
    """Raise UsageError for an unknown hash or a size that it cannot have."""
    if chosen("hash", name, HASHES) == "whash" and size & (size - 1):
        raise UsageError(f"hash_size {size}: whash needs a power of two, such as 8 or 16")


def perceptual_hash(upright: Image.Image, name: HashName = "phash", size: int = 8) -> NDArray[np.bool_]:
    """[size * size] bits of the hash of an image of any size, decoded at any scale.

    The algorithms are those of the imagehash package. For photographs at most a few bits of 64 differ from
    what it makes of the full image, since most of the scaling is done by averaging blocks first.
    """
    side = max(_SIDE, 4 * size)
    if name == "whash":
        side = max(_SIDE, size)
    grey = upright.convert("L").resize((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(HASHES[name](grey, size).hash, dtype=np.bool_).ravel()
