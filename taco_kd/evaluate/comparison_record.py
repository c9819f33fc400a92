"""What a comparison found, as it is printed, written to JSON and shown in a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from taco_kd.evaluate.breakdown import Part
from taco_kd.evaluate.coco_metrics import Metrics
from taco_kd.evaluate.inputs import parse
from taco_kd.evaluate.intervals import Interval
from taco_kd.evaluate.power import Plan
from taco_kd.evaluate.verdict import Outcome


@dataclass(frozen=True)
class SeedAP:
    """One run of an arm: its training seed or name, and its AP."""

    name: str
    ap: float


@dataclass(frozen=True)
class Arm:
    """One detector.

    Attributes:
        metrics: means over its training seeds.
        ap: the interval of its AP alone.
        seeds: AP of each training seed; empty with one.
        members: names of its runs or files.
    """

    name: str
    metrics: Metrics
    ap: Interval
    seeds: tuple[SeedAP, ...] = ()
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """AP of ``name`` minus AP of ``reference`` (0.01 is one AP point), and the verdict.

    Attributes:
        p_value: of no difference; with several seeds the larger of ``p_swap`` and ``p_seeds``.
        p_adjusted: the same after Holm's correction; equal where one difference is tested.
        p_swap: of the swap test, which holds for these training seeds.
        p_seeds: of a t-test over images and seeds; None with one seed each.
        sizes: small, medium and large boxes; ``per_class`` each class. Exploratory: not corrected for their
            number.
        plan: what it takes to find a difference of the size that was asked for.
    """

    name: str
    interval: Interval
    p_value: float
    outcome: Outcome
    words: str
    reference: str = ""
    p_adjusted: float | None = None
    p_swap: float | None = None
    p_seeds: float | None = None
    sizes: tuple[Part, ...] = ()
    per_class: tuple[Part, ...] = ()
    plan: Plan | None = None
    plan_words: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Detectors on the same images, each against the first (or each against each).

    Attributes:
        reference: name of the first arm.
        arms: all detectors, the reference first.
        differences: one for each arm but the reference, in the same order; or one for each pair.
        images: validation images.
        boxes: boxes in them that are not crowds.
        resamples: bootstrap resamples, and as many swaps.
        seed: of the resamples and swaps.
        confounders: what else differs between the runs and may be the cause of a difference.
        caveat: what the intervals do not cover; always to be shown with them.
        groups: groups of images that were resampled as wholes, or None; ``group_by`` says what they are.
        correction: how p-values were adjusted for several differences.
        notes: what was done that was not asked for, such as runs taken as seeds of one arm.
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
    groups: int | None = None
    group_by: str | None = None
    correction: str = "Holm"
    notes: tuple[str, ...] = field(default=())

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
