"""The difference of one pair of arms, and the verdicts of all pairs once their p-values are adjusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from taco_kd.evaluate.breakdown import classes, sizes
from taco_kd.evaluate.comparison_record import Difference
from taco_kd.evaluate.intervals import Method, interval_of, t_test
from taco_kd.evaluate.measured import Measured
from taco_kd.evaluate.multiplicity import holm
from taco_kd.evaluate.power import Rate, plan, rate_of
from taco_kd.evaluate.resampling import ArmValues, Draws, contrast
from taco_kd.evaluate.verdict import in_words, outcome, plan_in_words


def difference_of(
    a: Measured,
    b: Measured,
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


def adjusted(found: Sequence[tuple[Difference, Rate]], *, images: int) -> tuple[Difference, ...]:
    """With adjusted p-values and the verdicts that follow from them."""
    p_values = holm([difference.p_value for difference, _ in found])
    finished = []
    for (difference, rate), p_adjusted in zip(found, p_values, strict=True):
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
