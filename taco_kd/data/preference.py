"""Which image of a group of duplicates stays, where the settings already say that one of them is val."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from taco_kd.data.dedup import Duplicates
from taco_kd.data.groups import joined


def preferring(found: Duplicates, wanted: Collection[int]) -> Duplicates:
    """``found`` with an image of ``wanted`` kept of each group that has one: the one that was kept if it is
    among them, else the one with the lowest id."""
    ids = {i for pair in found.pairs for i in pair.image_ids}
    kept: dict[int, int] = {}
    for group in joined(ids, (pair.image_ids for pair in found.pairs)):
        best = next(i for i in group if i not in found.removed_ids)
        choices = [i for i in group if i in wanted]
        chosen = choices[0] if choices and best not in choices else best
        kept |= dict.fromkeys(group, chosen)
    pairs = tuple(replace(pair, kept_id=kept[pair.image_ids[0]]) for pair in found.pairs)
    return replace(found, pairs=pairs, removed_ids=frozenset(i for i in ids if kept[i] != i))
