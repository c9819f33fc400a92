"""Images that belong together, so that a split does not put near-copies of an image on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from taco_kd.data.dedup import Fingerprint
from taco_kd.data.records import ImageRecord

BURST = timedelta(seconds=60)
"""Shots of one camera with no longer pause between them are one series."""
SCENE_HASH_BITS = 16
SCENE_CORRELATION = 0.8
"""Two photos show one scene when their hashes differ by at most SCENE_HASH_BITS bits of 64 and their grey
32 x 32 thumbnails correlate at least so."""
_ROWS_AT_ONCE = 512

Pairs = Iterable[tuple[int, int]]


@dataclass(frozen=True)
class Shot:
    """When a photo was taken, and by which camera (empty where the file does not say)."""

    camera: str
    time: datetime


def joined(ids: Iterable[int], pairs: Pairs) -> list[list[int]]:
    """Connected components: ids that a chain of pairs joins; sorted, single ones too."""
    sets = DisjointSet(sorted(ids))
    for a, b in pairs:
        sets.merge(a, b)
    return sorted(sorted(subset) for subset in sets.subsets())


def batch_pairs(images: Sequence[ImageRecord]) -> Pairs:
    """Images of the same folder: TACO's ``batch_3/000010.jpg`` lies in ``batch_3``."""
    return _chains((str(PurePosixPath(image.file_name).parent), image.id) for image in images)


def time_pairs(shots: Mapping[int, Shot]) -> Pairs:
    """Neighbours in the series of one camera, where no more than ``BURST`` passed between them."""
    ordered = sorted((shot.camera, shot.time, image_id) for image_id, shot in shots.items())
    return [(a[2], b[2]) for a, b in pairwise(ordered) if a[0] == b[0] and b[1] - a[1] <= BURST]


def hash_pairs(prints: Sequence[Fingerprint], *, bits: int) -> Iterator[tuple[int, int]]:
    """Images whose perceptual hashes differ by at most ``bits``, whatever their pixels say."""
    if not prints:
        return
    signs = np.stack([p.phash for p in prints]).astype(np.float32) * 2 - 1
    for a, b in _close(signs, signs.shape[1] - 2 * bits):
        yield prints[a].image_id, prints[b].image_id


def scene_pairs(prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """Images that look like the same place: the two conditions at ``SCENE_CORRELATION``."""
    if not prints:
        return
    signs = np.stack([p.phash for p in prints]).astype(np.float32) * 2 - 1
    looks = _standardised(prints)
    for a, b in _close(signs, signs.shape[1] - 2 * SCENE_HASH_BITS):
        if float(looks[a] @ looks[b]) >= SCENE_CORRELATION:
            yield prints[a].image_id, prints[b].image_id


def _standardised(prints: Sequence[Fingerprint]) -> NDArray[np.float32]:
    """[N, 1024] grey thumbnails of mean 0 and length 1: their product is the correlation."""
    grey = np.stack([p.thumbnail.mean(axis=2).ravel() for p in prints]).astype(np.float32)
    grey -= grey.mean(axis=1, keepdims=True)
    return np.asarray(grey / np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6))


def _close(rows: NDArray[np.float32], least_product: float) -> Iterator[tuple[int, int]]:
    """Indices a < b of rows whose product is at least so large; [_ROWS_AT_ONCE, N] products at a time."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        products = rows[start : start + _ROWS_AT_ONCE] @ rows[start:].T
        for row, column in np.argwhere(products >= least_product):
            if row < column:
                yield start + int(row), start + int(column)


def _chains(keyed: Iterable[tuple[str, int]]) -> Pairs:
    last: dict[str, int] = {}
    pairs = []
    for key, image_id in keyed:
        if key in last:
            pairs.append((last[key], image_id))
        last[key] = image_id
    return pairs
