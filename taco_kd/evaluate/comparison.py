"""Compare detectors on the same images: difference in AP, interval, p-value, verdict, and what spoils it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from taco_kd.errors import UsageError
from taco_kd.evaluate.coco_metrics import Metrics, evaluate_coco
from taco_kd.evaluate.comparable import common_dataset, confounders, predictions_of
from taco_kd.evaluate.inputs import parse
from taco_kd.evaluate.intervals import Interval, PairedInterval, bootstrap_paired, swap_test
from taco_kd.evaluate.matching import match
from taco_kd.evaluate.verdict import Outcome, caveat, in_words, outcome
from taco_kd.progress import Tick
from taco_kd.runs import RunDir, Split


@dataclass(frozen=True)
class Arm:
    """One detector: its metrics, and the interval of its AP alone."""

    name: str
    metrics: Metrics
    ap: Interval


@dataclass(frozen=True)
class Difference:
    """AP of ``name`` minus AP of the reference (0.01 is one AP point), and the verdict."""

    name: str
    interval: Interval
    p_value: float
    outcome: Outcome
    words: str


@dataclass(frozen=True)
class Comparison:
    """Detectors on the same images, each against the first.

    Attributes:
        reference: name of the first arm.
        arms: all detectors, the reference first.
        differences: one for each arm but the reference, in the same order.
        images: validation images.
        boxes: boxes in them that are not crowds.
        resamples: bootstrap resamples, and as many swaps.
        seed: of the resamples and swaps.
        confounders: what else differs between the runs and may be the cause of a difference.
        caveat: what the intervals do not cover; always to be shown with them.
    """

    reference: str
    arms: tuple[Arm, ...]
    differences: tuple[Difference, ...]
    images: int
    boxes: int
    resamples: int
    seed: int
    confounders: tuple[str, ...]
    caveat: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        value: dict[str, Any] = TypeAdapter(Comparison).dump_python(self, mode="json")
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, where: str = "comparison") -> Comparison:
        """What :meth:`to_json` wrote.

        Raises:
            DataError: a key is missing or has another type; names ``where``.
        """
        return parse(TypeAdapter(cls), value, where)


def compare_predictions(
    ground_truth: Mapping[str, Any],
    arms: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    resamples: int = 1000,
    seed: int = 0,
    on_progress: Tick | None = None,
) -> Comparison:
    """Compare the predictions of several detectors; the first is the reference.

    Args:
        ground_truth: COCO dictionary.
        arms: COCO results of each detector by its name.

    Raises:
        UsageError: fewer than two arms, or too few resamples.
        DataError: see :func:`taco_kd.evaluate.inputs.check_coco` and ``bootstrap_paired``.
    """
    if len(arms) < 2:
        raise UsageError(f"{len(arms)} model: a comparison needs at least 2")
    reference, *others = arms
    total = len(others) * (2 * (resamples + 1) + len(ground_truth.get("images", ())))

    def tick(start: int) -> Tick | None:
        if on_progress is None:
            return None
        report = on_progress
        return lambda done, total_of_stage, note="": report(start + done, total, note)

    metrics, matches = {}, {}
    for name, predictions in arms.items():
        if on_progress is not None:
            on_progress(0, total, f"matching {name}")
        metrics[name] = evaluate_coco(ground_truth, predictions, where=f"predictions of {name}")
        matches[name] = match(ground_truth, predictions, where=f"predictions of {name}")

    alone: dict[str, Interval] = {}
    differences = []
    images, boxes = metrics[reference].images, metrics[reference].boxes
    for index, name in enumerate(others):
        start = index * total // len(others)
        pair = matches[reference], matches[name]
        paired = bootstrap_paired(*pair, resamples=resamples, seed=seed, on_progress=tick(start))
        swaps_from = start + 1 + resamples + images
        p_value = swap_test(*pair, swaps=resamples, seed=seed, on_progress=tick(swaps_from))
        alone |= {reference: paired.a, name: paired.b}
        differences.append(_difference(name, reference, paired, p_value))
    return Comparison(
        reference=reference,
        arms=tuple(Arm(name, metrics[name], alone[name]) for name in arms),
        differences=tuple(differences),
        images=images,
        boxes=boxes,
        resamples=resamples,
        seed=seed,
        confounders=(),
        caveat=caveat(images=images, differences=len(others)),
    )


def compare_runs(
    runs: Sequence[RunDir],
    *,
    split: Split = "val",
    resamples: int = 1000,
    seed: int = 0,
    on_progress: Tick | None = None,
) -> Comparison:
    """Compare finished, evaluated runs on their dataset; the first is the reference.

    Raises:
        UsageError: fewer than two runs, or too few resamples.
        DataError: a run has no predictions on this split, the runs used different data, or their dataset
            is gone or has changed.
    """
    records = [run.record() for run in runs]
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise UsageError("a run is given twice: compare different runs")
    unique = len({run.name for run in runs}) == len(runs)
    names = [run.name if unique else str(run.path) for run in runs]
    arms = {name: predictions_of(run, split) for name, run in zip(names, runs, strict=True)}
    ground_truth = common_dataset(runs, records).coco(split)
    comparison = compare_predictions(
        ground_truth, arms, resamples=resamples, seed=seed, on_progress=on_progress
    )
    found = [
        line
        for name, record in zip(names[1:], records[1:], strict=True)
        for line in confounders(names[0], records[0], name, record)
    ]
    return replace(comparison, confounders=tuple(found))


def _difference(name: str, reference: str, paired: PairedInterval, p_value: float) -> Difference:
    return Difference(
        name=name,
        interval=paired.difference,
        p_value=p_value,
        outcome=outcome(paired.difference, p_value),
        words=in_words(name, reference, paired.difference, p_value, paired.images),
    )
