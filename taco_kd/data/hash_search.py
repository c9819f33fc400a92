"""All pairs of binary hashes within a Hamming distance, without comparing all pairs.

Multi-index hashing: when B bits are cut into m chunks, two hashes at most t = m*r + a bits apart agree up to
r bits in one of the first a + 1 chunks, or up to r - 1 bits in one of the others. So it is enough to compare
hashes whose chunks are that close, and these lie together in a sorted table.

Source: Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]
Words = NDArray[np.uint64]

_MOST_CHUNKS = 12
_PROBE_COST = 40.0  # finding one neighbouring bucket costs about as much as comparing this many hashes
_COUNT_OF_16_BITS = np.array([i.bit_count() for i in range(1 << 16)], dtype=np.uint8)


class HashPairs(NamedTuple):
    """Pairs [P] sorted by (first, second): indices with first < second, and their distances in bits."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance_bits: NDArray[np.int64]


class Chunk(NamedTuple):
    """Positions of bits that are looked up together, and how many of them may differ."""

    bits: NDArray[np.int64]
    radius: int


def close_pairs(hashes: Bits, threshold: int) -> HashPairs:
    """Every pair of rows of ``hashes`` [N, B] that differ in at most ``threshold`` bits.

    Exact: nothing is missed. Work and memory grow with the number of pairs found and with about N^2 / 2^w for
    chunks of w bits; for a million random 64-bit hashes at threshold 3 that is 60 million comparisons
    instead of 500 billion. Hashes that are all alike are N^2 / 2 true pairs, and cost as much.

    Raises:
        ValueError: ``hashes`` is not [N, B], or the threshold is negative.
    """
    if hashes.ndim != 2 or threshold < 0:
        raise ValueError(f"hashes {hashes.shape} and threshold {threshold}: need [N, B] and 0 or more bits")
    count, bits = hashes.shape
    words = pack(hashes)
    if threshold >= bits:
        return _joined(list(_compare_all(words, threshold)), count)
    chunks = plan(count, bits, threshold)
    if not chunks:
        return _joined(list(_compare_all(words, threshold)), count)
    return _joined([part for chunk in chunks for part in _in_chunk(hashes, words, chunk, threshold)], count)


def plan(count: int, bits: int, threshold: int) -> list[Chunk]:
    """The chunks that make the search cheapest for ``count`` random hashes; none: compare all pairs."""
    best, best_cost = 0, count / 2
    for number in range(1, min(_MOST_CHUNKS, bits) + 1):
        if -(-bits // number) > 62:
            continue
        cost = sum(
            _probes(len(chunk.bits), chunk.radius) * (_PROBE_COST + count / 2 ** len(chunk.bits) / 2)
            for chunk in _chunks(bits, threshold, number)
        )
        if cost < best_cost:
            best, best_cost = number, cost
    return _chunks(bits, threshold, best) if best else []


def _chunks(bits: int, threshold: int, number: int) -> list[Chunk]:
    radius, rest = divmod(threshold, number)
    # Every number-th bit: neighbouring bits of an image hash go together, and make some buckets crowded.
    parts = [np.arange(start, bits, number) for start in range(number)]
    chunks = [Chunk(part, radius if k <= rest else radius - 1) for k, part in enumerate(parts)]
    return [chunk for chunk in chunks if chunk.radius >= 0]


def _probes(width: int, radius: int) -> float:
    return 1 + sum(comb(width, k) for k in range(1, radius + 1)) / 2


def pack(hashes: Bits) -> Words:
    """``hashes`` [N, B] as words [N, ceil(B / 64)], padded with zeros."""
    count, bits = hashes.shape
    padded = np.zeros((count, -(-bits // 64) * 64), dtype=np.bool_)
    padded[:, :bits] = hashes
    return np.packbits(padded, axis=1).view(np.uint64)


def distances(a: Words, b: Words) -> NDArray[np.int64]:
    """Differing bits of the rows of ``a`` [P, W] and ``b`` [P, W]."""
    different = a ^ b
    if hasattr(np, "bitwise_count"):
        counts: NDArray[np.uint8] = np.bitwise_count(different)
    else:  # NumPy before 2.0
        counts = _COUNT_OF_16_BITS[different.view(np.uint16)]
    return np.asarray(counts.sum(axis=1, dtype=np.int64))


def _in_chunk(hashes: Bits, words: Words, chunk: Chunk, threshold: int) -> Iterator[HashPairs]:
    """Close pairs among those that agree in ``chunk`` up to its radius."""
    width = len(chunk.bits)
    keys = hashes[:, chunk.bits].astype(np.int64) @ (np.int64(1) << np.arange(width))
    order = np.argsort(keys, kind="stable")
    keys, words = keys[order], words[order]
    rows = np.arange(len(keys))
    yield from _against_ranges(words, order, rows + 1, np.searchsorted(keys, keys, "right"), threshold)
    for flips in range(1, chunk.radius + 1):
        for where in combinations(range(width), flips):
            wanted = keys ^ sum(1 << k for k in where)
            begin = np.searchsorted(keys, wanted, "left")
            end = np.where(wanted > keys, np.searchsorted(keys, wanted, "right"), 0)  # each pair once
            yield from _against_ranges(words, order, begin, end, threshold)


def _against_ranges(
    words: Words, order: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64], threshold: int
) -> Iterator[HashPairs]:
    """Row i against rows ``begin[i]`` to ``end[i]``, all rows one step at a time: memory stays at [N]."""
    rows = np.flatnonzero(begin < end)
    partner, last = begin[rows], end[rows]
    while len(rows):
        found = distances(words[rows], words[partner])
        near = found <= threshold
        if near.any():
            yield HashPairs(order[rows[near]], order[partner[near]], found[near])
        partner = partner + 1
        more = partner < last
        rows, partner, last = rows[more], partner[more], last[more]


def _compare_all(words: Words, threshold: int) -> Iterator[HashPairs]:
    for row in range(len(words) - 1):
        found = distances(words[row + 1 :], words[row : row + 1])
        near = np.flatnonzero(found <= threshold)
        if len(near):
            yield HashPairs(np.full(len(near), row), row + 1 + near, found[near])


def _joined(parts: list[HashPairs], count: int) -> HashPairs:
    """``parts`` as one, sorted, each pair once."""
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return HashPairs(none, none, none)
    a, b, distance = (np.concatenate([part[k] for part in parts]) for k in range(3))
    first, second = np.minimum(a, b), np.maximum(a, b)
    places = np.unique(first * count + second, return_index=True)[1]
    return HashPairs(first[places], second[places], distance[places])
