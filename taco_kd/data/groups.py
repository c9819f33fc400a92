"""Images that belong together, so that a split does not put near-copies of an image on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from taco_kd.data.dedup import Fingerprint
from taco_kd.data.hash_search import close_pairs
from taco_kd.data.look_alikes import look_alikes
from taco_kd.data.records import ImageRecord

BURST = timedelta(seconds=60)
"""Shots of one camera with no longer pause between them are one series."""
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
    if prints:
        first, second, _ = close_pairs(np.stack([p.phash for p in prints]), bits)
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            yield prints[a].image_id, prints[b].image_id


def scene_pairs(prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """Images that look like the same place, as ``look_alikes`` says."""
    for pair in look_alikes(prints):
        yield prints[pair.first].image_id, prints[pair.second].image_id


def _chains(keyed: Iterable[tuple[str, int]]) -> Pairs:
    last: dict[str, int] = {}
    pairs = []
    for key, image_id in keyed:
        if key in last:
            pairs.append((last[key], image_id))
        last[key] = image_id
    return pairs
