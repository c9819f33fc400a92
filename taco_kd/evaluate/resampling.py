"""Draws of images and of training seeds, and AP under each of them: the raw material of every interval.

Images are drawn once and shared by all detectors, so that differences are paired. Where images come in groups
(shots of one scene), whole groups are drawn. Shapes: R rows (the images as they are, then B resamples, then J
sets with a part left out, then smaller sets), I images, G groups, K training seeds, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from taco_kd.errors import DataError, UsageError
from taco_kd.evaluate.matching import Area
from taco_kd.evaluate.weighted_ap import Floats, Ints, Matches, mean_over_classes
from taco_kd.progress import Tick

BATCH = 256
"""Weightings evaluated between two ticks of the progress bar."""

MAX_JACKKNIFE = 400
"""With more groups than this the jackknife leaves out random blocks of groups instead of single ones."""

SUBSETS, SUBSET_DRAWS = (8, 2), 200
"""Sets of 1/8 and 1/2 of the groups, and how many of each: how the error falls with the size of the set."""
MIN_GROUPS_FOR_SUBSETS = 40


@dataclass(frozen=True)
class Draws:
    """How often each image counts in each row.

    Attributes:
        weights: [R, I].
        resamples: B.
        left_out: J, the rows of the jackknife.
        subsets: S, the rows of each size of smaller sets; 0 where there are too few groups.
        groups: G; the number of images where each stands for itself.
        seed: of the draws.
    """

    weights: Ints
    resamples: int
    left_out: int
    groups: int
    seed: int
    subsets: int = 0

    @classmethod
    def make(cls, groups: Ints, *, resamples: int, seed: int) -> Draws:
        """Draws for images that belong to ``groups`` [I], numbered from 0 without gaps.

        Raises:
            UsageError: fewer than 100 resamples; they could not tell a 95 % interval.
            DataError: fewer than 2 groups.
        """
        if resamples < 100:
            raise UsageError(f"resamples = {resamples}: a 95 % interval needs at least 100")
        number = int(groups.max()) + 1
        if number < 2:
            what = "1 image" if len(groups) == 1 else f"{len(groups)} images in 1 group"
            raise DataError(f"{what}: a comparison needs at least 2")
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(number, np.full(number, 1 / number), size=resamples)
        blocks = np.arange(number)
        if number > MAX_JACKKNIFE:
            blocks = rng.permutation(number) % MAX_JACKKNIFE
        kept = (np.arange(int(blocks.max()) + 1)[:, None] != blocks).astype(np.int64)
        rows = [np.ones((1, number), dtype=np.int64), drawn, kept]
        subsets = SUBSET_DRAWS if number >= MIN_GROUPS_FOR_SUBSETS else 0
        if subsets:
            rows += [_smaller(rng, number, number // share) for share in SUBSETS]
        return cls(np.concatenate(rows)[:, groups], resamples, len(kept), number, seed, subsets)

    @property
    def resampled(self) -> slice:
        return slice(1, 1 + self.resamples)

    @property
    def jackknife(self) -> slice:
        return slice(1 + self.resamples, 1 + self.resamples + self.left_out)

    def subset(self, place: int) -> slice:
        """Rows of the smaller sets of 1 / ``SUBSETS[place]`` of the groups."""
        start = self.jackknife.stop + place * self.subsets
        return slice(start, start + self.subsets)


def _smaller(rng: np.random.Generator, number: int, size: int) -> Ints:
    order = rng.permuted(np.tile(np.arange(number), (SUBSET_DRAWS, 1)), axis=1)
    return (order < size).astype(np.int64)


def each_image_alone(images: int) -> Ints:
    """Groups of one image each."""
    return np.arange(images)


@dataclass(frozen=True)
class ArmValues:
    """AP of each class of one arm in every row of the draws.

    Attributes:
        by_area: for each range of areas [K, R, C], without the smaller sets but for all areas together; NaN
            where a row holds no box of the class.
        boxes: for each range of areas [C] boxes in the images as they are.
        images: [C] images with a box of the class, of any size.
        images_of_area: images with a box of the area, of any class.
    """

    by_area: Mapping[Area, Floats]
    boxes: Mapping[Area, Ints]
    images: Ints
    images_of_area: Mapping[Area, int]

    def ap(self, area: Area = "all") -> Floats:
        """[K, R] mean over classes."""
        return mean_over_classes(self.by_area[area])


def evaluate_arm(
    seeds: Sequence[Mapping[Area, Matches]], draws: Draws, *, on_progress: Tick | None = None, note: str = ""
) -> ArmValues:
    """Every training seed of an arm under every row of ``draws``.

    Raises:
        DataError: the ground truth holds no boxes.
    """
    first = seeds[0]
    if not any(one.boxes.any() for one in first["all"].classes):
        raise DataError("the ground truth holds no boxes: average precision is not defined")
    rows = {area: draws.weights[: None if area == "all" else draws.jackknife.stop] for area in first}
    total = len(seeds) * sum(map(len, rows.values()))
    done = 0

    def ticks(offset: int) -> Tick | None:
        if on_progress is None:
            return None
        report = on_progress
        return lambda part, _, note="": report(offset + part, total, note)

    by_area: dict[Area, Floats] = {}
    for area, weights in rows.items():
        values = []
        for seed in seeds:
            values.append(in_batches(seed[area].class_ap, weights, ticks(done), note or "bootstrap"))
            done += len(weights)
        by_area[area] = np.stack(values)
    return ArmValues(
        by_area=by_area,
        boxes={area: matches.boxes for area, matches in first.items()},
        images=np.array([np.count_nonzero(one.boxes) for one in first["all"].classes]),
        images_of_area={
            area: int(np.count_nonzero(sum(one.boxes for one in matches.classes)))
            for area, matches in first.items()
        },
    )


def contrast(a: Floats, b: Floats, *, paired: bool) -> list[Floats]:
    """``b - a`` as the sum of independent parts [K, ...], each to be averaged over its seeds.

    One part where seed k of both arms is the same, so that their luck is shared; otherwise one for each arm.
    """
    return [b - a] if paired else [b, -a]


def in_batches(compute: Callable[[Ints], Floats], rows: Ints, on_progress: Tick | None, note: str) -> Floats:
    """``compute`` on slices of ``rows``, joined along the first axis."""
    parts = []
    for start in range(0, len(rows), BATCH):
        parts.append(compute(rows[start : start + BATCH]))
        if on_progress is not None:
            on_progress(min(start + BATCH, len(rows)), len(rows), note)
    return np.concatenate(parts)
