"""What train and val have in common: pictures that are near-duplicates, and scenes that both show.

A detector that has seen a photograph of the same bottle on the same lawn does better on the next one than on
a new place. How many images of val have such a neighbour in train says how far a split can be believed.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.cluster.hierarchy import DisjointSet

from taco_kd.data.dedup import Fingerprint
from taco_kd.data.look_alikes import look_alikes
from taco_kd.data.pixel_check import same_picture
from taco_kd.runs import Split

MAX_LISTED = 200
"""Pairs that a report lists, the most alike first; all of them are counted."""


@dataclass(frozen=True)
class BorderPair:
    """An image of train and one of val that look alike."""

    train_id: int
    val_id: int
    hash_distance_bits: int
    correlation: float
    pixel_difference: float
    near_duplicate: bool


@dataclass(frozen=True)
class Leakage:
    """Counts over the border between train and val.

    Attributes:
        near_duplicates: pairs that show the same picture.
        near_duplicate_val_images: images of val that are in one of these.
        alike_pairs: pairs that look like one scene, the near-duplicates among them.
        scenes: groups of images that lie on both sides, joined by looking alike, by a scene the data names
            or by having been taken in a row.
        scene_val_images: images of val in one of these.
        val_images: all images of val.
        named_scenes: the images name their scene or group, and these were joined too.
        pairs: the first ``MAX_LISTED`` alike pairs, nearest first.
    """

    near_duplicates: int
    near_duplicate_val_images: int
    alike_pairs: int
    scenes: int
    scene_val_images: int
    val_images: int
    named_scenes: bool
    pairs: tuple[BorderPair, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Leakage:
        return cls(**{**value, "pairs": tuple(BorderPair(**pair) for pair in value["pairs"])})

    def line(self) -> str:
        """One line such as ``train/val border: 0 near-duplicates, 12 scenes on both sides (9 of 225 ...``."""
        share = f"{self.scene_val_images} of {self.val_images} val images"
        twins = f"{self.near_duplicates} near-duplicate pair{'s' * (self.near_duplicates != 1)}"
        scenes = f"{self.scenes} scene{'s' * (self.scenes != 1)}"
        return f"Train/val border: {twins}, {scenes} on both sides ({share})"


def leakage(
    parts: Mapping[Split, Collection[int]],
    prints: Sequence[Fingerprint],
    *,
    scene_of: Mapping[int, Hashable] | None = None,
    shots_in_a_row: Iterable[tuple[int, int]] = (),
) -> Leakage:
    """Compare all images of train with all of val.

    Args:
        parts: image ids of each split.
        prints: a fingerprint of each of these images; others are ignored.
        scene_of: scenes or groups that the data names, by image id.
        shots_in_a_row: pairs of ids that one camera took shortly after each other.
    """
    train, val = set(parts["train"]), set(parts["val"])
    used = sorted((p for p in prints if p.image_id in train | val), key=lambda p: p.image_id)
    alike = look_alikes(used)
    border = [(i, j, d, c) for i, j, d, c in alike if (used[i].image_id in val) != (used[j].image_id in val)]
    pairs = [_border_pair(used[i], used[j], d, c, val) for i, j, d, c in border]
    pairs.sort(key=lambda p: (not p.near_duplicate, -p.correlation, p.train_id, p.val_id))
    joined = [(used[i].image_id, used[j].image_id) for i, j, _, _ in alike]
    joined += [pair for pair in shots_in_a_row if train | val >= set(pair)]
    scenes = _scenes_on_both_sides([p.image_id for p in used], joined, scene_of or {}, val)
    twins = [pair for pair in pairs if pair.near_duplicate]
    return Leakage(
        near_duplicates=len(twins),
        near_duplicate_val_images=len({pair.val_id for pair in twins}),
        alike_pairs=len(pairs),
        scenes=len(scenes),
        scene_val_images=sum(len(scene & val) for scene in scenes),
        val_images=len(val),
        named_scenes=bool(scene_of),
        pairs=tuple(pairs[:MAX_LISTED]),
    )


def _border_pair(
    one: Fingerprint, other: Fingerprint, distance: int, correlation: float, val: Collection[int]
) -> BorderPair:
    in_train, in_val = (other, one) if one.image_id in val else (one, other)
    same, difference = same_picture(in_train.thumbnail, in_val.thumbnail)
    return BorderPair(in_train.image_id, in_val.image_id, distance, correlation, round(difference, 2), same)


def _scenes_on_both_sides(
    ids: Iterable[int],
    joined: Iterable[tuple[int, int]],
    scene_of: Mapping[int, Hashable],
    val: Collection[int],
) -> list[set[int]]:
    sets = DisjointSet(ids)
    for one, other in joined:
        sets.merge(one, other)
    first: dict[Hashable, int] = {}
    for image_id in sets:
        if scene_of.get(image_id) is not None:
            sets.merge(first.setdefault(scene_of[image_id], image_id), image_id)
    return [members for members in sets.subsets() if len(members & set(val)) not in (0, len(members))]
