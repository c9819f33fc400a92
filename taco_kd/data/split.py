"""The split into train and val, or into folds: at random, by groups, or stratified by class."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from itertools import pairwise

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from taco_kd.errors import DataError
from taco_kd.runs import Split

Group = Sequence[int]
"""Ids of images that stay together."""


def split_ids(ids: Collection[int], *, train_ratio: float, seed: int) -> dict[Split, list[int]]:
    """``ids`` shuffled by ``seed`` and cut at ``train_ratio``; each part is sorted.

    The result depends on the set of ids, not on their order. TACO's 1,498 images give 1,273 and 225 at 0.85,
    as in RT-CO-DETR (whose own seed is not published).

    Raises:
        DataError: a part would be empty.
    """
    count = round(train_ratio * len(ids))
    if not 0 < count < len(ids):
        parts = f"{count} train and {len(ids) - count} val"
        raise DataError(f"train_ratio {train_ratio:g} of {len(ids)} images gives {parts}; add images")
    shuffled = _shuffled(ids, seed)
    return {"train": sorted(shuffled[:count]), "val": sorted(shuffled[count:])}


def random_folds(ids: Collection[int], *, folds: int, seed: int) -> list[list[int]]:
    """``ids`` shuffled by ``seed`` and cut into ``folds`` parts whose sizes differ by one at most."""
    shuffled = _shuffled(ids, seed)
    cuts = [round(k * len(shuffled) / folds) for k in range(folds + 1)]
    return [sorted(shuffled[start:end]) for start, end in pairwise(cuts)]


def grouped_parts(groups: Sequence[Group], *, shares: Sequence[float], seed: int) -> list[list[int]]:
    """Whole groups in random order, each into the first part that still has room for it; where all shares are
    equal (folds), the largest groups first, each into the part with most room, which makes parts more even.

    Args:
        shares: of the images for each part; they sum to 1.
    """
    total = sum(map(len, groups))
    room = [share * total for share in shares]
    parts: list[list[int]] = [[] for _ in shares]
    left: list[Group] = []
    waiting = _in_random_order(groups, Generator(PCG64(seed)))
    if len(set(shares)) == 1:
        left, waiting = sorted(waiting, key=len, reverse=True), []
    for group in waiting:
        part = next((k for k, free in enumerate(room) if round(free) >= len(group)), None)
        if part is None:
            left.append(group)
            continue
        parts[part] += group
        room[part] -= len(group)
    for group in left:
        part = int(np.argmax(room))
        parts[part] += group
        room[part] -= len(group)
    return [sorted(part) for part in parts]


def stratified_parts(
    groups: Sequence[Group], classes: Mapping[int, Set[int]], *, shares: Sequence[float], seed: int
) -> list[list[int]]:
    """Iterative stratification: each part gets its share of the images that show each class.

    The rarest class is dealt out first: each of its images goes to the part that lacks most of that class,
    then to the one that lacks most images, then to a random one. Sizes follow only roughly. Source: Sechidis,
    Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011, algorithm 1; here an
    example is a group of images, the largest first, and counts as many times as it has images.

    Args:
        classes: of each image id, those that it shows.
        shares: of the images for each part; they sum to 1.
    """
    rng = Generator(PCG64(seed))
    waiting = _in_random_order(groups, rng)
    waiting.sort(key=len, reverse=True)
    shows = [_class_counts(group, classes) for group in waiting]
    left: dict[int, int] = {}
    for counts in shows:
        for label, count in counts.items():
            left[label] = left.get(label, 0) + count
    images_wanted = np.array(shares) * sum(map(len, waiting))
    wanted = {label: np.array(shares) * count for label, count in left.items()}
    parts: list[list[int]] = [[] for _ in shares]
    holders: dict[int, list[int]] = {label: [] for label in left}
    for index, counts in enumerate(shows):
        for label in counts:
            holders[label].append(index)
    dealt = [False] * len(waiting)

    def deal(index: int, need: NDArray[np.float64]) -> None:
        best = np.flatnonzero(need == need.max())
        best = best[images_wanted[best] == images_wanted[best].max()]
        part = int(best[0] if len(best) == 1 else rng.choice(best))
        parts[part] += waiting[index]
        images_wanted[part] -= len(waiting[index])
        for label, count in shows[index].items():
            wanted[label][part] -= count
            left[label] -= count
        dealt[index] = True

    while any(left.values()):
        rarest = min((label for label in left if left[label]), key=lambda label: (left[label], label))
        for index in holders[rarest]:
            if not dealt[index]:
                deal(index, wanted[rarest])
    for index in range(len(waiting)):
        if not dealt[index]:  # shows nothing
            deal(index, images_wanted)
    return [sorted(part) for part in parts]


def _shuffled(ids: Collection[int], seed: int) -> list[int]:
    ordered = np.array(sorted(ids), dtype=np.int64)
    return [int(i) for i in Generator(PCG64(seed)).permutation(ordered)]


def _in_random_order(groups: Sequence[Group], rng: Generator) -> list[Group]:
    ordered = sorted(sorted(group) for group in groups)
    return [ordered[k] for k in rng.permutation(len(ordered))]


def _class_counts(group: Group, classes: Mapping[int, Set[int]]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for image_id in group:
        for label in sorted(classes[image_id]):
            counts[label] = counts.get(label, 0) + 1
    return counts
