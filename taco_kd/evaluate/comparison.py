"""Compare arms made of runs, of results files of any tool, or of both; the first is the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from taco_kd.errors import UsageError
from taco_kd.evaluate.arms import ArmOfRuns, arms_of
from taco_kd.evaluate.chosen import chosen_on, words
from taco_kd.evaluate.comparable import (
    common_dataset,
    confounders_of_arms,
    predictions_of,
    require_same_evaluation,
)
from taco_kd.evaluate.comparison_record import Arm, Comparison, Difference
from taco_kd.evaluate.intervals import Method
from taco_kd.evaluate.measured import Predictions
from taco_kd.evaluate.pairwise import compare_predictions
from taco_kd.evaluate.results_file import read_results
from taco_kd.evaluate.same_truth import require_same_truth
from taco_kd.evaluate.truth import Areas
from taco_kd.progress import Tick
from taco_kd.runs import RunDir, Split

__all__ = [
    "Arm",
    "ArmOfFiles",
    "Comparison",
    "Difference",
    "Predictions",
    "compare_arms",
    "compare_predictions",
    "compare_runs",
]


@dataclass(frozen=True)
class ArmOfFiles:
    """COCO results files of one detector: one, or one for each training seed (which seed is not known)."""

    name: str
    files: tuple[Path, ...]


def compare_arms(
    arms: Sequence[ArmOfRuns | ArmOfFiles],
    ground_truth: Mapping[str, Any] | None = None,
    *,
    split: Split = "val",
    resamples: int = 1000,
    seed: int = 0,
    group_by: str | None = None,
    areas: Areas = "resized",
    interval: Method = "bca",
    all_pairs: bool = False,
    plan_for: float | None = None,
    on_progress: Tick | None = None,
) -> Comparison:
    """Compare arms; the first is the reference.

    Args:
        ground_truth: COCO dictionary; of runs, by default that of their dataset.
        group_by: and the rest: see :func:`taco_kd.evaluate.pairwise.compare_predictions`.

    Raises:
        UsageError: fewer than two arms, two of one name, or files and no ground truth.
        DataError: runs that cannot be compared (see ``compare_runs``), a file that cannot be read, or a
            ground truth that is not that of the runs.
    """
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two arms are called {name!r}: give each a name with --arm NAME=PATH")
    of_runs = [arm for arm in arms if isinstance(arm, ArmOfRuns)]
    runs = [run for arm in of_runs for run in arm.runs]
    if runs:
        require_same_evaluation(runs, split)
        data = common_dataset(runs, [record for arm in of_runs for record in arm.records])
        theirs = data.coco(split)
        if ground_truth is None:
            ground_truth = theirs
        require_same_truth(ground_truth, theirs, where=f"the {split} split of {data.path}")
    if ground_truth is None:
        raise UsageError("results files say nothing of the truth: add --annotations GROUND_TRUTH.json")
    predictions: dict[str, Predictions] = {}
    for arm in arms:
        if isinstance(arm, ArmOfRuns):
            found = [predictions_of(run, split) for run in arm.runs]
            predictions[arm.name] = dict(zip(arm.keys(), found, strict=True))
        else:
            predictions[arm.name] = {str(file): read_results(file, ground_truth) for file in arm.files}
    comparison = compare_predictions(
        ground_truth,
        predictions,
        resamples=resamples,
        seed=seed,
        group_by=group_by,
        areas=areas,
        interval=interval,
        all_pairs=all_pairs,
        plan_for=plan_for,
        on_progress=on_progress,
    )
    return replace(
        comparison,
        arms=tuple(
            replace(found, members=names)
            for found, names in zip(comparison.arms, _members(arms), strict=True)
        ),
        confounders=tuple(_confounders(arms, split)),
        notes=tuple(_notes(arms, split)),
    )


def compare_runs(
    runs: Sequence[RunDir],
    *,
    split: Split = "val",
    resamples: int = 1000,
    seed: int = 0,
    group_seeds: bool = True,
    group_by: str | None = None,
    areas: Areas = "resized",
    interval: Method = "bca",
    all_pairs: bool = False,
    plan_for: float | None = None,
    on_progress: Tick | None = None,
) -> Comparison:
    """Compare finished, evaluated runs on their dataset; the first is the reference.

    Args:
        group_seeds: runs that differ in the training seed only become one arm; false takes each by itself.
        group_by: and the rest: see :func:`taco_kd.evaluate.pairwise.compare_predictions`.

    Raises:
        UsageError: fewer than two arms, or too few resamples.
        DataError: a run has no predictions on this split, the runs used different data or were evaluated
            differently, or their dataset is gone or has changed.
    """
    return compare_arms(
        arms_of(runs, group_seeds=group_seeds),
        split=split,
        resamples=resamples,
        seed=seed,
        group_by=group_by,
        areas=areas,
        interval=interval,
        all_pairs=all_pairs,
        plan_for=plan_for,
        on_progress=on_progress,
    )


def _members(arms: Sequence[ArmOfRuns | ArmOfFiles]) -> list[tuple[str, ...]]:
    """Names of the runs of each arm, as a report gives them, or paths of its files."""
    runs = [run for arm in arms if isinstance(arm, ArmOfRuns) for run in arm.runs]
    unique = len({run.name for run in runs}) == len(runs)
    return [
        tuple(run.name if unique else str(run.path) for run in arm.runs)
        if isinstance(arm, ArmOfRuns)
        else tuple(map(str, arm.files))
        for arm in arms
    ]


def _chosen(arms: Sequence[ArmOfRuns | ArmOfFiles], split: Split) -> list[str]:
    """Names of the arms that have a run which was chosen on the images that are compared on."""
    of_runs = [arm for arm in arms if isinstance(arm, ArmOfRuns)]
    return [arm.name for arm in of_runs if any(chosen_on(record, split) for record in arm.records)]


def _confounders(arms: Sequence[ArmOfRuns | ArmOfFiles], split: Split) -> list[str]:
    """Against the reference; of files nothing is known, which is said once."""
    found = []
    reference, *others = arms
    seen = _chosen(arms, split)
    found += [] if len(seen) == len(arms) else [words(name, split) for name in seen]
    if isinstance(reference, ArmOfRuns):
        for arm in others:
            if isinstance(arm, ArmOfRuns):
                found += confounders_of_arms(reference, arm)
    unknown = [arm.name for arm in arms if isinstance(arm, ArmOfFiles)]
    if unknown:
        found.append(
            f"how {' and '.join(unknown)} {'was' if len(unknown) == 1 else 'were'} trained is not written in "
            "results files: initial weights, data, steps and augmentation may differ"
        )
    return found


def _notes(arms: Sequence[ArmOfRuns | ArmOfFiles], split: Split) -> list[str]:
    seen = _chosen(arms, split)  # where all were, it may not be what makes them differ
    lines = [words(name, split) for name in seen] if len(seen) == len(arms) else []
    for arm in arms:
        if isinstance(arm, ArmOfRuns) and len(arm.runs) > 1:
            lines.append(arm.line())
        elif isinstance(arm, ArmOfFiles) and len(arm.files) > 1:
            files = ", ".join(file.name for file in arm.files)
            lines.append(f"{arm.name}: one arm of {len(arm.files)} training seeds: {files}")
    return lines
