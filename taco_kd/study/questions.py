"""The questions of a study: with the same initial weights, is an arm better than the reference?

With folds, the predictions of a seed are those of its fold models on their val splits, so each image has been
predicted once, by a model that did not see it; all are compared on the pooled images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taco_kd.evaluate.arms import named_arm
from taco_kd.evaluate.coco_metrics import Metrics, evaluate_coco
from taco_kd.evaluate.comparable import confounders_of_arms, predictions_of, require_same_evaluation
from taco_kd.evaluate.comparison import Comparison, Predictions, compare_arms, compare_predictions
from taco_kd.evaluate.stage import evaluate
from taco_kd.progress import Tick
from taco_kd.runs import DataDir, RunDir
from taco_kd.study.cells import Cell
from taco_kd.study.config import StudyConfig
from taco_kd.study.folds import pooled
from taco_kd.study.status import CellStatus

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class SeedRuns:
    """One arm with one seed: its run, or one run for each fold."""

    seed: int
    cells: tuple[Cell, ...]

    def predictions(self) -> Rows:
        """COCO results on the images that are compared, each image predicted once."""
        return [row for cell in self.cells for row in predictions_of(cell.run, "val")]


@dataclass(frozen=True)
class ArmRuns:
    """An arm with one initialisation.

    Attributes:
        seeds: those with all their cells finished.
        wanted: how many seeds the study asks for.
        metrics: of each seed, on all compared images.
    """

    name: str
    seeds: tuple[SeedRuns, ...]
    wanted: int
    metrics: tuple[Metrics, ...]

    @property
    def shown(self) -> list[RunDir]:
        """The runs of a page: one for each seed, or where folds are many, one that stands for all."""
        runs = [seed.cells[0].run for seed in self.seeds]
        return runs if self.seeds[0].cells[0].fold is None else runs[:1]


@dataclass(frozen=True)
class Question:
    """Arms with the same initialisation against the reference.

    Attributes:
        initialisation: None where the study leaves the initial weights to the recipes.
        arms: those with at least one complete seed, the reference first where it is among them.
        comparison: None where there is nothing to compare; ``reason`` says why.
    """

    initialisation: str | None
    arms: tuple[ArmRuns, ...]
    comparison: Comparison | None
    reason: str


def ask(
    study: StudyConfig,
    statuses: Sequence[CellStatus],
    data: DataDir,
    *,
    resamples: int,
    on_progress: Tick | None = None,
) -> tuple[Question, ...]:
    """One question for each initialisation."""
    truth = pooled(data) if study.folds is not None else data.coco("val")
    found = []
    for each in study.initialisations or (None,):
        start = each.name if each else None
        arms = []
        for arm in study.arms:
            own = [s for s in statuses if (s.cell.arm, s.cell.initialisation) == (arm.name, start)]
            if arm.compared and own:
                seeds = _complete(own)
                metrics = tuple(_metrics(seed, truth) for seed in seeds)
                arms.append(ArmRuns(arm.name, seeds, len(study.seeds), metrics))
        if arms:
            found.append(_question(study, start, arms, truth, resamples, on_progress))
    return tuple(found)


def _complete(statuses: Sequence[CellStatus]) -> tuple[SeedRuns, ...]:
    seeds = dict.fromkeys(status.cell.seed for status in statuses)
    found = []
    for seed in seeds:
        own = [status for status in statuses if status.cell.seed == seed]
        if all(status.state == "finished" for status in own):
            found.append(SeedRuns(seed, tuple(status.cell for status in own)))
    return tuple(found)


def _metrics(seed: SeedRuns, truth: Mapping[str, Any]) -> Metrics:
    if len(seed.cells) == 1 and seed.cells[0].fold is None:
        return evaluate(seed.cells[0].run)  # kept beside the run
    return evaluate_coco(truth, seed.predictions(), where=f"predictions of seed {seed.seed}")


def _question(
    study: StudyConfig,
    start: str | None,
    arms: Sequence[ArmRuns],
    truth: Mapping[str, Any],
    resamples: int,
    on_progress: Tick | None,
) -> Question:
    complete = sorted((arm for arm in arms if arm.seeds), key=lambda arm: arm.name != study.reference)
    reason = ""
    if not complete or complete[0].name != study.reference:
        known = any(arm.name == study.reference for arm in arms)
        reason = f"the reference {study.reference} " + (
            "has no complete seed yet" if known else "is not run with this initialisation"
        )
    elif len(complete) < 2:
        reason = f"no arm but the reference {study.reference} has a complete seed yet"
    if reason:
        return Question(start, tuple(complete), None, reason)
    comparison = _compare(study, complete, truth, resamples, on_progress)
    return Question(start, tuple(complete), comparison, "")


def _compare(
    study: StudyConfig,
    arms: Sequence[ArmRuns],
    truth: Mapping[str, Any],
    resamples: int,
    on_progress: Tick | None,
) -> Comparison:
    """All seeds of each arm against all of the reference."""
    members = [named_arm(arm.name, [seed.cells[0].run for seed in arm.seeds]) for arm in arms]
    if study.folds is None:
        return compare_arms(members, resamples=resamples, group_by=study.group_by, on_progress=on_progress)
    require_same_evaluation([cell.run for arm in arms for seed in arm.seeds for cell in seed.cells], "val")
    predictions: dict[str, Predictions] = {
        arm.name: {seed.seed: seed.predictions() for seed in arm.seeds} for arm in arms
    }
    comparison = compare_predictions(
        truth, predictions, resamples=resamples, group_by=study.group_by, on_progress=on_progress
    )
    lines = [line for arm in members[1:] for line in confounders_of_arms(members[0], arm)]
    return replace(comparison, confounders=tuple(lines))
