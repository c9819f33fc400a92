"""The table of a study: a row for each arm and initialisation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from taco_kd.evaluate.comparison import Difference
from taco_kd.study.config import StudyConfig
from taco_kd.study.questions import ArmRuns, Question


@dataclass(frozen=True)
class Row:
    """One line of the table; AP in 0..1.

    Attributes:
        seeds: how many are complete, of ``seeds_wanted``.
        ap: mean over the seeds; ``ap_sd`` their standard deviation, None with fewer than two.
        difference: from the reference; None for the reference itself and where nothing can be said yet.
    """

    arm: str
    initialisation: str | None
    seeds: int
    seeds_wanted: int
    ap: float | None
    ap_sd: float | None
    ap50: float | None
    difference: Difference | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        difference = self.difference
        return {
            "arm": self.arm,
            "initialisation": self.initialisation,
            "seeds": self.seeds,
            "seeds_wanted": self.seeds_wanted,
            "ap": self.ap,
            "ap_sd": self.ap_sd,
            "ap50": self.ap50,
            "difference": difference and difference.interval.estimate,
            "low": difference and difference.interval.low,
            "high": difference and difference.interval.high,
            "p_value": difference and difference.p_value,
            "outcome": difference and difference.outcome,
            "words": difference and difference.words,
        }

    def cells(self) -> list[str]:
        """What a printed table shows, in AP points (AP x 100)."""
        spread = "" if self.ap_sd is None else f" ± {100 * self.ap_sd:.1f}"
        seeds = f"{self.seeds}" if self.seeds == self.seeds_wanted else f"{self.seeds} of {self.seeds_wanted}"
        found = [
            self.arm,
            self.initialisation or "as the recipe",
            seeds,
            "–" if self.ap is None else f"{100 * self.ap:.1f}{spread}",
            "–" if self.ap50 is None else f"{100 * self.ap50:.1f}",
        ]
        if self.difference is None:
            return [*found, "", "", ""]
        interval = self.difference.interval
        low, estimate, high = (100 * value for value in (interval.low, interval.estimate, interval.high))
        return [*found, f"{estimate:+.1f}", f"[{low:+.1f}, {high:+.1f}]", self.difference.outcome]


COLUMNS = ["arm", "initial weights", "seeds", "AP", "AP50", "difference", "95 % interval", "verdict"]


def table(study: StudyConfig, questions: Sequence[Question]) -> tuple[Row, ...]:
    """The rows in the order of the questions and arms; arms without a complete seed have one too."""
    rows = []
    for question in questions:
        has = {arm.name: arm for arm in question.arms}
        differences = (
            {} if question.comparison is None else {d.name: d for d in question.comparison.differences}
        )
        for arm in study.arms:
            starts = [start and start.name for start in study.initialisations_of(arm)]
            if arm.compared and question.initialisation in starts:
                rows.append(
                    _row_of(
                        arm.name, question, has.get(arm.name), len(study.seeds), differences.get(arm.name)
                    )
                )
    return tuple(rows)


def _row_of(
    name: str, question: Question, arm: ArmRuns | None, wanted: int, difference: Difference | None
) -> Row:
    aps = [m.ap for m in arm.metrics if m.ap is not None] if arm else []
    ap50s = [m.ap50 for m in arm.metrics if m.ap50 is not None] if arm else []
    return Row(
        arm=name,
        initialisation=question.initialisation,
        seeds=len(arm.seeds) if arm else 0,
        seeds_wanted=wanted,
        ap=statistics.fmean(aps) if aps else None,
        ap_sd=statistics.stdev(aps) if len(aps) > 1 else None,
        ap50=statistics.fmean(ap50s) if ap50s else None,
        difference=difference,
    )
