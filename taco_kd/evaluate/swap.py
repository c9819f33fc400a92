"""The swap test: if two detectors were equally good, it would not matter which of them saw an image.

A permutation test for pairs (Fisher's sign flips). For scores that rank across the whole set, as AP does, the
score is computed anew for every exchange: approximate randomisation (Noreen, "Computer-Intensive Methods for
Testing Hypotheses", 1989).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taco_kd.errors import DataError
from taco_kd.evaluate.resampling import each_image_alone, in_batches
from taco_kd.evaluate.weighted_ap import ClassMatches, Floats, Ints, Matches
from taco_kd.progress import Tick


def swap_test(
    a: Matches | Sequence[Matches],
    b: Matches | Sequence[Matches],
    *,
    swaps: int = 1000,
    seed: int = 0,
    groups: Ints | None = None,
    paired: bool = False,
    on_progress: Tick | None = None,
) -> float:
    """Two-sided p-value of the difference in AP, by exchanging the detectors' outputs image by image.

    AP is computed anew on the detections of each mixture, since it ranks detections across images. The
    smallest possible value is 1 / (swaps + 1).

    Arms of several training seeds exchange the same images in every pair of their seeds, and the differences
    of the pairs are averaged: the p-value holds for these seeds, whatever others would do.

    Args:
        groups: [I] whole groups of images are exchanged; by default each image alone.
        paired: seed k of both arms belongs together; otherwise every seed meets every other.

    Raises:
        DataError: the detectors saw different images or classes, fewer than 2 images or groups, or no boxes.
    """
    left, right = _listed(a), _listed(b)
    if groups is None:
        groups = each_image_alone(len(left[0].image_ids))
    _require_pairs(left, right, groups)
    mixed = [interleave(one, other) for one, other in pairs_of(left, right, paired=paired)]
    rng = np.random.default_rng(seed)
    number = int(groups.max()) + 1
    by_group = np.concatenate(
        [np.zeros((1, number), dtype=np.int64), rng.integers(0, 2, size=(swaps, number))]
    )

    def difference(rows: Ints) -> Floats:
        swapped = rows[:, groups]
        from_a = np.stack([1 - swapped, swapped], axis=2).reshape(len(swapped), -1)
        return np.asarray(np.mean([each.ap(1 - from_a) - each.ap(from_a) for each in mixed], axis=0))

    differences = np.abs(in_batches(difference, by_group, on_progress, "swap test"))
    as_large = np.count_nonzero(differences[1:] >= differences[0] - 1e-12)
    return float((1 + as_large) / (1 + swaps))


def pairs_of(a: Sequence[Matches], b: Sequence[Matches], *, paired: bool) -> list[tuple[Matches, Matches]]:
    """Pairs of seeds whose average difference is the difference of the arms' averages."""
    if paired or (len(a) == len(b) == 1):
        return list(zip(a, b, strict=True))
    return [(one, other) for one in a for other in b]


def _listed(arm: Matches | Sequence[Matches]) -> list[Matches]:
    return [arm] if isinstance(arm, Matches) else list(arm)


def interleave(a: Matches, b: Matches) -> Matches:
    """Both detectors' matches as one, where image i has index 2i with a's output and 2i + 1 with b's."""
    classes = []
    for one, other in zip(a.classes, b.classes, strict=True):
        image_index = np.concatenate([2 * one.image_index, 2 * other.image_index + 1])
        order = np.argsort(image_index, kind="stable")  # stable: keeps the order inside an image
        classes.append(
            ClassMatches.sort(
                np.concatenate([one.scores, other.scores])[order],
                image_index[order],
                np.concatenate([one.hit, other.hit], axis=1)[:, order],
                np.concatenate([one.ignored, other.ignored], axis=1)[:, order],
                np.repeat(one.boxes, 2),
            )
        )
    return Matches(tuple(np.repeat(a.image_ids, 2).tolist()), a.class_names, tuple(classes))


def _require_pairs(a: Sequence[Matches], b: Sequence[Matches], groups: Ints) -> None:
    first = a[0]
    if any(m.image_ids != first.image_ids or m.class_names != first.class_names for m in (*a, *b)):
        raise DataError("the two detectors were not matched to the same images and classes")
    if len(first.image_ids) < 2:
        raise DataError(f"{len(first.image_ids)} image: a comparison needs at least 2")
    if int(groups.max()) < 1:
        raise DataError(f"{len(groups)} images in 1 group: a comparison needs at least 2 groups")
    if not any(one.boxes.any() for one in first.classes):
        raise DataError("the ground truth holds no boxes: average precision is not defined")
