"""Near-duplicates: equal bytes, or close perceptual hashes that a look at the pixels confirms.

Three steps, each cheaper than the next is safe: sha256 finds copies of a file, the hash search of
``hash_search`` finds candidates, and ``pixel_check`` decides about each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from taco_kd.data.hash_search import close_pairs
from taco_kd.data.pixel_check import same_picture

FoundBy = Literal["sha256", "hash", "embedding"]

_MANY_ALIKE = 64
"""Of more images than this with one and the same hash (blank frames), each is compared with one image of
every picture seen among them instead of with all, so that they do not cost their number squared."""


@dataclass(frozen=True)
class Fingerprint:
    """What duplicates are found by, and what the best of them is chosen by.

    Attributes:
        sha256: of the file's bytes.
        phash: [B] bits of the perceptual hash, of whichever kind.
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
    """Two images that were compared.

    Attributes:
        pixel_difference: see ``pixel_check``; 0 for equal bytes.
        kept_id: the image of their whole group that stays; None where the pixels said no.
        similarity: of their embeddings, where these brought them together.
    """

    image_ids: tuple[int, int]
    hash_distance_bits: int
    pixel_difference: float
    found_by: FoundBy
    kept_id: int | None
    similarity: float | None = None

    @property
    def equal_bytes(self) -> bool:
        return self.found_by == "sha256"


@dataclass(frozen=True)
class Duplicates:
    """Pairs found, ids to leave out, and the candidates that the pixels spoke against."""

    pairs: tuple[DuplicatePair, ...]
    removed_ids: frozenset[int]
    rejected: tuple[DuplicatePair, ...]

    @property
    def candidates_rejected(self) -> int:
        return len(self.rejected)


@dataclass(frozen=True)
class _Link:
    """Places a < b in the list of fingerprints, and what was found about them."""

    a: int
    b: int
    distance_bits: int
    difference: float
    found_by: FoundBy
    same: bool
    similarity: float | None = None


def find_duplicates(
    prints: Sequence[Fingerprint],
    *,
    hash_threshold: int,
    near: Sequence[tuple[int, int, float]] = (),
) -> Duplicates:
    """Groups of images that show the same, each reduced to its best image.

    The best has the most pixels, then the most annotations, then the lowest id. Groups are connected
    components: if A matches B and B matches C, one of the three stays.

    Args:
        prints: in any order; the result depends on their set only.
        hash_threshold: hashes at most this many bits apart are candidates.
        near: more candidates as (image id, image id, similarity), from a comparison of embeddings.
    """
    ordered = sorted(prints, key=lambda p: p.image_id)
    links = [*_equal_bytes(ordered), *_by_hash(ordered, hash_threshold)]
    known = {(link.a, link.b) for link in links}
    links += [link for link in _by_embedding(ordered, near) if (link.a, link.b) not in known]
    links.sort(key=lambda link: (link.a, link.b))
    best = _best_of_group(ordered, [(link.a, link.b) for link in links if link.same])

    def pair(link: _Link) -> DuplicatePair:
        return DuplicatePair(
            image_ids=(ordered[link.a].image_id, ordered[link.b].image_id),
            hash_distance_bits=link.distance_bits,
            pixel_difference=round(link.difference, 2),
            found_by=link.found_by,
            kept_id=ordered[best[link.a]].image_id if link.same else None,
            similarity=link.similarity,
        )

    return Duplicates(
        pairs=tuple(pair(link) for link in links if link.same),
        removed_ids=frozenset(p.image_id for k, p in enumerate(ordered) if best[k] != k),
        rejected=tuple(pair(link) for link in links if not link.same),
    )


def _equal_bytes(prints: Sequence[Fingerprint]) -> Iterator[_Link]:
    first_with: dict[str, int] = {}
    for index, fingerprint in enumerate(prints):
        first = first_with.setdefault(fingerprint.sha256, index)
        if first != index:
            yield _Link(first, index, 0, 0.0, "sha256", same=True)


def _by_hash(prints: Sequence[Fingerprint], threshold: int) -> Iterator[_Link]:
    """Candidates among files of different bytes, looked at."""
    distinct = list({p.sha256: k for k, p in reversed(list(enumerate(prints)))}.values())
    members: dict[bytes, list[int]] = {}
    for place in sorted(distinct):
        members.setdefault(prints[place].phash.tobytes(), []).append(place)
    if not members:
        return
    groups = list(members.values())
    leaders = []
    for group in groups:
        found, own = _within(prints, group)
        leaders.append(own)
        yield from found
    pairs = close_pairs(np.stack([prints[group[0]].phash for group in groups]), threshold)
    for first, second, distance in zip(*(column.tolist() for column in pairs), strict=True):
        for one in leaders[first]:
            for other in leaders[second]:
                yield _look(prints, one, other, distance)


def _within(prints: Sequence[Fingerprint], group: Sequence[int]) -> tuple[list[_Link], list[int]]:
    """Links among images of one hash, and the images that stand for them all."""
    if len(group) <= _MANY_ALIKE:
        return [_look(prints, a, b, 0) for a, b in combinations(group, 2)], list(group)
    links: list[_Link] = []
    leaders: list[int] = []
    for place in group:
        looks = (_look(prints, leader, place, 0) for leader in leaders)
        if (match := next((look for look in looks if look.same), None)) is not None:
            links.append(match)
        else:
            leaders.append(place)
    return links, leaders


def _by_embedding(prints: Sequence[Fingerprint], near: Sequence[tuple[int, int, float]]) -> Iterator[_Link]:
    place = {fingerprint.image_id: k for k, fingerprint in enumerate(prints)}
    for one, other, similarity in near:
        a, b = sorted((place[one], place[other]))
        distance = int((prints[a].phash != prints[b].phash).sum())
        same, difference = same_picture(prints[a].thumbnail, prints[b].thumbnail)
        yield _Link(a, b, distance, difference, "embedding", same, round(similarity, 4))


def _look(prints: Sequence[Fingerprint], one: int, other: int, distance: int) -> _Link:
    a, b = sorted((one, other))
    same, difference = same_picture(prints[a].thumbnail, prints[b].thumbnail)
    return _Link(a, b, distance, difference, "hash", same)


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
