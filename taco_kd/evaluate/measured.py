"""One arm of a comparison with all that is computed of it once: matches and metrics of each of its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taco_kd.errors import UsageError
from taco_kd.evaluate.accumulate import accumulate
from taco_kd.evaluate.coco_metrics import Metrics, summarise
from taco_kd.evaluate.comparison_record import Arm, SeedAP
from taco_kd.evaluate.greedy import match_greedily
from taco_kd.evaluate.inputs import check_coco
from taco_kd.evaluate.intervals import Method, interval_of
from taco_kd.evaluate.matching import Area, matches_of
from taco_kd.evaluate.mean_metrics import mean_metrics
from taco_kd.evaluate.resampling import ArmValues, Draws
from taco_kd.evaluate.truth import Areas
from taco_kd.evaluate.weighted_ap import Matches
from taco_kd.progress import Tick

Rows = Sequence[Mapping[str, Any]]
Predictions = Rows | Mapping[int | str, Rows]
"""COCO results of one detector; or of one for each training seed, by the seed, or by a name where the seed is
not known. Arms with the same seeds are paired seed by seed."""


@dataclass(frozen=True)
class Measured:
    """One arm: K seeds."""

    name: str
    keys: tuple[int | str, ...]
    metrics: tuple[Metrics, ...]
    matches: tuple[Mapping[Area, Matches], ...]

    def paired_with(self, other: Measured) -> bool:
        """Whether seed k is the same training seed in both."""
        return self.keys == other.keys and len(self.keys) > 1 and all(isinstance(k, int) for k in self.keys)

    def pairs_with(self, other: Measured) -> int:
        """Pairs of seeds that the swap test goes through."""
        return len(self.keys) * (1 if self.paired_with(other) else len(other.keys))


def measure(
    ground_truth: Mapping[str, Any],
    name: str,
    predictions: Predictions,
    areas: Areas,
    on_progress: Tick | None,
) -> Measured:
    """Match the predictions of each seed of an arm; see ``compare_predictions``.

    Raises:
        UsageError: no predictions.
        DataError: see :func:`taco_kd.evaluate.inputs.check_coco`.
    """
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
    return Measured(name, tuple(several), tuple(metrics), tuple(matches))


def arm_of(one: Measured, values: ArmValues, draws: Draws, method: Method) -> Arm:
    """Its metrics and the interval of its AP, for the record."""
    alone = values.ap()
    seeds = tuple(SeedAP(str(key), float(ap)) for key, ap in zip(one.keys, alone[:, 0], strict=True))
    return Arm(
        one.name,
        mean_metrics(one.metrics),
        interval_of([alone], draws, method=method),
        seeds if len(seeds) > 1 else (),
    )
