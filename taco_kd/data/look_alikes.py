"""Photos that look like one scene: hashes that are not far apart, and thumbnails that correlate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from taco_kd.data.dedup import Fingerprint
from taco_kd.data.hash_search import close_pairs

SCENE_HASH_SHARE = 0.25
"""Two photos may show one scene when at most this share of the bits of their hashes differs (16 of 64) ..."""
SCENE_CORRELATION = 0.8
"""... and their grey 32 x 32 thumbnails correlate at least so."""


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
    looks = np.stack([p.thumbnail.mean(axis=2).ravel() for p in prints]).astype(np.float32)
    looks -= looks.mean(axis=1, keepdims=True)
    looks /= np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-6)
    first, second, distance = close_pairs(hashes, int(SCENE_HASH_SHARE * hashes.shape[1]))
    correlation = np.einsum("pk,pk->p", looks[first], looks[second])
    return [
        Alike(int(i), int(j), int(d), round(float(c), 4))
        for i, j, d, c in zip(first, second, distance, correlation, strict=True)
        if c >= SCENE_CORRELATION
    ]
