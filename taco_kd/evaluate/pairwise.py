"""Compare predictions of several detectors: each difference with its interval, p-value and verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from taco_kd.errors import UsageError
from taco_kd.evaluate.comparison_record import Comparison
from taco_kd.evaluate.groups import group_images
from taco_kd.evaluate.intervals import Method
from taco_kd.evaluate.measured import Measured, Predictions, arm_of, measure
from taco_kd.evaluate.pair_difference import adjusted, difference_of
from taco_kd.evaluate.resampling import Draws, each_image_alone, evaluate_arm
from taco_kd.evaluate.swap import swap_test
from taco_kd.evaluate.truth import Areas
from taco_kd.evaluate.verdict import caveat
from taco_kd.progress import Tick


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
            of them by seed, see :data:`taco_kd.evaluate.measured.Predictions`.
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
    measured = [measure(ground_truth, name, found, areas, on_progress) for name, found in arms.items()]
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
        differences.append(
            difference_of(ours, theirs, values[a], values[b], draws, p_swap, interval, plan_for)
        )
    seeds = [len(each.keys) for each in measured]
    return Comparison(
        reference=measured[0].name,
        arms=tuple(arm_of(each, own, draws, interval) for each, own in zip(measured, values, strict=True)),
        differences=adjusted(differences, images=len(first.image_ids)),
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
        measured: Sequence[Measured],
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
