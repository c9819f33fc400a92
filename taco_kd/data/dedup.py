"""Near-duplicates: equal bytes, or close perceptual hashes that a look at the pixels confirms.

A 64-bit hash alone cannot decide: unrelated photographs come within a few bits of each other by chance, the
more so the more there are. It is used to find candidates; a comparison of 32 x 32 thumbnails decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

MAX_CELL_DIFFERENCE = 20.0
"""Largest difference of any thumbnail cell, in grey levels of 255, after brightness and contrast are matched.
Re-encoded, brightened and resized copies of photographs stay below 13; an object that is only in one of two
shots of a scene shows in at least one cell."""
MAX_COLOUR_SHIFT = 32.0
"""Largest difference of the mean of a colour channel: flat images of different colours are different."""
_CONTRAST_RANGE = (0.8, 1.25)
_ROWS_AT_ONCE = 512  # 20,000 images need 40 MB of distances at a time


@dataclass(frozen=True)
class Fingerprint:
    """What duplicates are found by, and what the best of them is chosen by.

    Attributes:
        sha256: of the file's bytes.
        phash: [64] bits.
        thumbnail: [32, 32, 3] uint8 RGB.
        pixel_count: width times height of the original.
        box_count: how many annotations it has.
    """

    image_id: int
    sha256: str
    phash: NDArray[np.bool_]
    thumbnail: NDArray[np.uint8]
    pixel_count: int
    box_count: int


@dataclass(frozen=True)
class DuplicatePair:
    """Two images that show the same; ``kept_id`` is the one of their whole group that stays."""

    image_ids: tuple[int, int]
    hash_distance_bits: int
    pixel_difference: float
    equal_bytes: bool
    kept_id: int


@dataclass(frozen=True)
class Duplicates:
    """Pairs found, ids to leave out, and how many candidates the pixels spoke against."""

    pairs: tuple[DuplicatePair, ...]
    removed_ids: frozenset[int]
    candidates_rejected: int


def pixel_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Largest cell difference of two [S, S, 3] thumbnails in grey levels, 255.0 when their colours differ.

    A cell is compared by the mean over its three channels, after the mean of each channel and the overall
    contrast of ``a`` have been matched to those of ``b``. Symmetric.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    x_mean, y_mean = x.mean(axis=(0, 1)), y.mean(axis=(0, 1))
    if np.abs(x_mean - y_mean).max() > MAX_COLOUR_SHIFT:
        return 255.0
    x, y = x - x_mean, y - y_mean
    # The square root puts half of the contrast change on each side.
    contrast = np.sqrt(np.clip((y.std() + 1e-9) / (x.std() + 1e-9), *_CONTRAST_RANGE))
    return float(np.abs(x * contrast - y / contrast).mean(axis=2).max())


def find_duplicates(prints: Sequence[Fingerprint], *, hash_threshold: int) -> Duplicates:
    """Groups of images that show the same, each reduced to its best image.

    The best has the most pixels, then the most annotations, then the lowest id. Groups are connected
    components: if A matches B and B matches C, one of the three stays.
    """
    ordered = sorted(prints, key=lambda p: p.image_id)
    first_with: dict[str, int] = {}
    links: list[tuple[int, int, int, float, bool]] = []
    for index, fingerprint in enumerate(ordered):
        first = first_with.setdefault(fingerprint.sha256, index)
        if first != index:
            links.append((first, index, 0, 0.0, True))
    distinct = list(first_with.values())
    rejected = 0
    for i, j, distance in _close_pairs([ordered[k].phash for k in distinct], hash_threshold):
        a, b = distinct[i], distinct[j]
        difference = pixel_difference(ordered[a].thumbnail, ordered[b].thumbnail)
        if difference <= MAX_CELL_DIFFERENCE:
            links.append((a, b, distance, difference, False))
        else:
            rejected += 1
    best = _best_of_group(ordered, [(a, b) for a, b, *_ in links])
    pairs = tuple(
        DuplicatePair(
            image_ids=(ordered[a].image_id, ordered[b].image_id),
            hash_distance_bits=distance,
            pixel_difference=round(difference, 2),
            equal_bytes=equal,
            kept_id=ordered[best[a]].image_id,
        )
        for a, b, distance, difference, equal in sorted(links)
    )
    removed = frozenset(p.image_id for k, p in enumerate(ordered) if best[k] != k)
    return Duplicates(pairs, removed, rejected)


def _close_pairs(hashes: Sequence[NDArray[np.bool_]], threshold: int) -> Iterator[tuple[int, int, int]]:
    """Indices i < j of hashes at most ``threshold`` bits apart, with their distance."""
    if not hashes:
        return
    # With bits as -1 and 1 the Hamming distance is (bits - dot product) / 2: one matrix product.
    signs = np.stack(hashes).astype(np.float32) * 2 - 1
    bits = signs.shape[1]
    for start in range(0, len(signs), _ROWS_AT_ONCE):
        distances = (bits - signs[start : start + _ROWS_AT_ONCE] @ signs[start:].T) / 2
        for row, column in np.argwhere(distances <= threshold):
            if row < column:
                yield start + int(row), start + int(column), int(distances[row, column])


def _best_of_group(prints: Sequence[Fingerprint], links: Sequence[tuple[int, int]]) -> list[int]:
    """For each image the index of the image that stands for its group."""
    count = len(prints)
    if not links:
        return list(range(count))
    rows, columns = np.array(links).T
    graph = coo_array((np.ones(len(links), dtype=np.int8), (rows, columns)), shape=(count, count))
    group_of = connected_components(graph, directed=False)[1]

    def rank(index: int) -> tuple[int, int, int]:
        return -prints[index].pixel_count, -prints[index].box_count, prints[index].image_id

    best: dict[int, int] = {}
    for index in sorted(range(count), key=rank):
        best.setdefault(int(group_of[index]), index)
    return [best[int(group)] for group in group_of]
