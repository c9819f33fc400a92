"""Compare predictions of several detectors: each difference with its interval, p-value and verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from taco_kd.errors import UsageError
from taco_kd.evaluate.accumulate import accumulate
from taco_kd.evaluate.breakdown import classes, sizes
from taco_kd.evaluate.coco_metrics import Metrics, summarise
from taco_kd.evaluate.comparison_record import Arm, Comparison, Difference, SeedAP
from taco_kd.evaluate.greedy import match_greedily
from taco_kd.evaluate.groups import group_images
from taco_kd.evaluate.inputs import check_coco
from taco_kd.evaluate.intervals import Method, interval_of, t_test
from taco_kd.evaluate.matching import Area, matches_of
from taco_kd.evaluate.mean_metrics import mean_metrics
from taco_kd.evaluate.multiplicity import holm
from taco_kd.evaluate.power import Rate, plan, rate_of
from taco_kd.evaluate.resampling import ArmValues, Draws, contrast, each_image_alone, evaluate_arm
from taco_kd.evaluate.swap import swap_test
from taco_kd.evaluate.truth import Areas
from taco_kd.evaluate.verdict import caveat, in_words, outcome, plan_in_words
from taco_kd.evaluate.weighted_ap import Matches
from taco_kd.progress import Tick

Rows = Sequence[Mapping[str, Any]]
Predictions = Rows | Mapping[int | str, Rows]
"""COCO results of one detector; or of one for each training seed, by the seed, or by a name where the seed is
not known. Arms with the same seeds are paired seed by seed."""


@dataclass(frozen=True)
class _Measured:
    """One arm with all that is computed of it once: K seeds."""

    name: str
    keys: tuple[int | str, ...]
    metrics: tuple[Metrics, ...]
    matches: tuple[Mapping[Area, Matches], ...]

    def paired_with(self, other: _Measured) -> bool:
        """Whether seed k is the same training seed in both."""
        return self.keys == other.keys and len(self.keys) > 1 and all(isinstance(k, int) for k in self.keys)

    def pairs_with(self, other: _Measured) -> int:
        """Pairs of seeds that the swap test goes through."""
        return len(self.keys) * (1 if self.paired_with(other) else len(other.keys))


def compare_predictions(
    ground_truth: Mapping[str, Any],
    arms: Mapping[str, Predictions],
    *,
    resamples: int = 1000,
    seed: int = 0,
    group_by: str | None = None,
    areas: Areas = "resized",
    interval: Method = "bca",
    all_pairs: bool = False,
    plan_for: float | None = None,
    on_progress: Tick | None = None,
) -> Comparison:
    """Compare the predictions of several detectors; the first is the reference.

    Args:
        ground_truth: COCO dictionary.
        arms: COCO results of each detector by its name; of an arm with several training seeds a dictionary
            of them by seed, see :data:`Predictions`.
        group_by: images that belong together are resampled and swapped together; see
            :func:`taco_kd.evaluate.groups.group_images`.
        areas: small, medium and large by pixels of the images, or of the ``original`` photos.
        interval: which ends are reported; both are in the result.
        all_pairs: each against each instead of each against the first.
        plan_for: also plan for a true difference of this size, in AP (0.01 is one AP point).

    Raises:
        UsageError: fewer than two arms, too few resamples, an unknown grouping, a plan for nothing.
        DataError: see :func:`taco_kd.evaluate.inputs.check_coco`; a single image or group, or no boxes.
    """
    if len(arms) < 2:
        raise UsageError(f"{len(arms)} model: a comparison needs at least 2")
    if plan_for is not None and not 0 < plan_for <= 1:
        raise UsageError(f"plan for {100 * plan_for:g} AP points: must be above 0 and at most 100")
    measured = [_measure(ground_truth, name, found, areas, on_progress) for name, found in arms.items()]
    first = measured[0].matches[0]["all"]
    groups = None if group_by is None else group_images(ground_truth, group_by)
    of_image = each_image_alone(len(first.image_ids)) if groups is None else groups.of_image
    draws = Draws.make(of_image, resamples=resamples, seed=seed)
    pairs = list(combinations(range(len(measured)), 2))
    if not all_pairs:
        pairs = [(0, index) for index in range(1, len(measured))]

    progress = _Progress(measured, pairs, draws, on_progress)
    values = [
        evaluate_arm(each.matches, draws, on_progress=progress.next(), note=f"bootstrap {each.name}")
        for each in measured
    ]
    differences = []
    for a, b in pairs:
        ours, theirs = measured[a], measured[b]
        p_swap = swap_test(
            [each["all"] for each in ours.matches],
            [each["all"] for each in theirs.matches],
            swaps=resamples,
            seed=seed,
            groups=of_image,
            paired=ours.paired_with(theirs),
            on_progress=progress.next(),
        )
        differences.append(_difference(ours, theirs, values[a], values[b], draws, p_swap, interval, plan_for))
    seeds = [len(each.keys) for each in measured]
    return Comparison(
        reference=measured[0].name,
        arms=tuple(_arm(each, own, draws, interval) for each, own in zip(measured, values, strict=True)),
        differences=_adjusted(differences, images=len(first.image_ids)),
        images=measured[0].metrics[0].images,
        boxes=measured[0].metrics[0].boxes,
        resamples=resamples,
        seed=seed,
        confounders=(),
        caveat=caveat(
            images=len(first.image_ids),
            differences=len(pairs),
            seeds=seeds,
            paired=all(measured[a].paired_with(measured[b]) for a, b in pairs),
            groups=None if groups is None else groups.number,
            group_source=group_by or "",
        ),
        groups=None if groups is None else groups.number,
        group_by=group_by,
    )


class _Progress:
    """One bar over all stages: each is told its share of the whole."""

    def __init__(
        self,
        measured: Sequence[_Measured],
        pairs: Sequence[tuple[int, int]],
        draws: Draws,
        on_progress: Tick | None,
    ) -> None:
        self.report = on_progress
        rows, subsets = len(draws.weights), 2 * draws.subsets
        self.work = [len(m.matches) * (len(m.matches[0]) * (rows - subsets) + subsets) for m in measured]
        for a, b in pairs:
            self.work.append(measured[a].pairs_with(measured[b]) * (1 + draws.resamples))
        self.stage = 0

    def next(self) -> Tick | None:
        """For the next stage."""
        start, share, total = sum(self.work[: self.stage]), self.work[self.stage], sum(self.work)
        self.stage += 1
        if self.report is None:
            return None
        report = self.report
        return lambda done, of, note="": report(start + done * share // of, total, note)


def _measure(
    ground_truth: Mapping[str, Any],
    name: str,
    predictions: Predictions,
    areas: Areas,
    on_progress: Tick | None,
) -> _Measured:
    several: Mapping[Any, Rows] = predictions if isinstance(predictions, Mapping) else {name: predictions}
    if not several:
        raise UsageError(f"{name}: an arm without predictions")
    metrics, matches = [], []
    for key, rows in several.items():
        if on_progress is not None:
            on_progress(0, 1, f"matching {name}")
        where = f"predictions of {name}" + (f" (seed {key})" if len(several) > 1 else "")
        coco = check_coco(ground_truth, rows, where=where, areas=areas)
        matched = match_greedily(coco)
        metrics.append(summarise(coco, matched, accumulate(matched)))
        matches.append(matches_of(coco, matched))
    return _Measured(name, tuple(several), tuple(metrics), tuple(matches))


def _arm(one: _Measured, values: ArmValues, draws: Draws, method: Method) -> Arm:
    alone = values.ap()
    seeds = tuple(SeedAP(str(key), float(ap)) for key, ap in zip(one.keys, alone[:, 0], strict=True))
    return Arm(
        one.name,
        mean_metrics(one.metrics),
        interval_of([alone], draws, method=method),
        seeds if len(seeds) > 1 else (),
    )


def _difference(
    a: _Measured,
    b: _Measured,
    of_a: ArmValues,
    of_b: ArmValues,
    draws: Draws,
    p_swap: float,
    method: Method,
    plan_for: float | None,
) -> tuple[Difference, Rate]:
    """Without its verdict, which has to wait for the other p-values; and the rate its error falls at."""
    paired = a.paired_with(b)
    parts = contrast(of_a.ap(), of_b.ap(), paired=paired)
    found = interval_of(parts, draws, method=method)
    rate = rate_of(parts, draws)
    seeds = max(len(a.keys), len(b.keys))
    p_seeds = t_test(parts, draws) if seeds > 1 else None
    images = len(a.matches[0]["all"].image_ids)
    planned = None
    if plan_for is not None:
        planned = plan(plan_for, found, images=images, seeds=seeds, rate=rate)
    names = a.matches[0]["all"].class_names
    difference = Difference(
        name=b.name,
        interval=found,
        p_value=p_swap if p_seeds is None else max(p_swap, p_seeds),
        outcome="not distinguishable",
        words="",
        reference=a.name,
        p_swap=p_swap,
        p_seeds=p_seeds,
        sizes=sizes(of_a, of_b, draws, paired=paired, method=method),
        per_class=classes(of_a, of_b, names, draws, paired=paired, method=method),
        plan=planned,
        plan_words=None if planned is None else plan_in_words(planned),
    )
    return difference, rate


def _adjusted(found: Sequence[tuple[Difference, Rate]], *, images: int) -> tuple[Difference, ...]:
    """With adjusted p-values and the verdicts that follow from them."""
    adjusted = holm([difference.p_value for difference, _ in found])
    finished = []
    for (difference, rate), p_adjusted in zip(found, adjusted, strict=True):
        words = in_words(
            difference.name,
            difference.reference,
            difference.interval,
            difference.p_value,
            images,
            p_adjusted=p_adjusted if len(found) > 1 else None,
            rate=rate,
        )
        verdict = outcome(difference.interval, p_adjusted)
        finished.append(replace(difference, p_adjusted=p_adjusted, outcome=verdict, words=words))
    return tuple(finished)
