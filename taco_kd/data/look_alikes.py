"""Photos that look like one scene: hashes that are not far apart, and thumbnails that correlate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from taco_kd.data.dedup import Fingerprint
from taco_kd.data.hash_search import close_pairs

SCENE_HASH_SHARE = 0.25
"""Two photos may show one scene when at most this share of the bits of their hashes differs (16 of 64) ..."""
SCENE_CORRELATION = 0.8
"""... and their grey 32 x 32 thumbnails correlate at least so."""
MANY_IMAGES = 100_000
"""Of more images than this only hashes within ``_SHARE_OF_MANY`` are compared: a quarter of the bits brings
so many pairs together that no index helps, and the search would take hours."""
_SHARE_OF_MANY = 1 / 16


class Alike(NamedTuple):
    """Places of two images in a list of fingerprints, ``first`` < ``second``, and how alike they are."""

    first: int
    second: int
    hash_distance_bits: int
    correlation: float


def look_alikes(prints: Sequence[Fingerprint]) -> list[Alike]:
    """All pairs of images that look like one scene; near-duplicates are among them."""
    if len(prints) < 2:
        return []
    hashes = np.stack([p.phash for p in prints])
    share = SCENE_HASH_SHARE if len(prints) <= MANY_IMAGES else _SHARE_OF_MANY
    found = []
    for i, j, distance in zip(
        *(column.tolist() for column in close_pairs(hashes, int(share * hashes.shape[1]))), strict=True
    ):
        alike = correlation(prints[i].thumbnail, prints[j].thumbnail)
        if alike >= SCENE_CORRELATION:
            found.append(Alike(i, j, distance, round(alike, 4)))
    return found


def correlation(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Pearson correlation of two [S, S, 3] thumbnails as grey images; 0 where one is flat."""
    x, y = (side.mean(axis=2, dtype=np.float64).ravel() for side in (a, b))
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / scale if scale > 1e-6 else 0.0
