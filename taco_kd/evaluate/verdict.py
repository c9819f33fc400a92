"""What a difference in AP means, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from taco_kd.evaluate.groups import FEW_GROUPS
from taco_kd.evaluate.intervals import Interval
from taco_kd.evaluate.power import SIGNIFICANCE, SQUARE_ROOT, Plan, Rate, images_for

Outcome = Literal["better", "worse", "not distinguishable"]

FEW_IMAGES = 30
"""Below this the bootstrap knows too little of the spread between images."""

FEW_SEEDS = 5
"""With fewer seeds their scatter is poorly known."""


def caveat(
    *,
    images: int,
    differences: int,
    seeds: Sequence[int] = (),
    paired: bool = False,
    groups: int | None = None,
    group_source: str = "",
) -> str:
    """What intervals and p-values cover and what not; to be shown with every comparison.

    Args:
        seeds: how many training seeds each arm has; none given means one each.
        paired: the arms have the same seeds.
        groups: of images that were resampled as wholes, by ``group_source``.
    """
    what = "validation images" if groups is None else f"whole groups of validation images ({group_source})"
    sentences = [_seed_sentence(what, seeds, paired)]
    if groups is not None and groups < FEW_GROUPS:
        sentences.append(f"With {groups} groups the intervals are a rough guide at best.")
    elif images < FEW_IMAGES:
        sentences.append(f"On {images} images the intervals are a rough guide at best.")
    if differences > 1:
        sentences.append(
            f"{differences} differences are tested: verdicts use p-values adjusted by Holm's method; the "
            "intervals are for each difference by itself."
        )
    return " ".join(sentences)


def _seed_sentence(what: str, seeds: Sequence[int], paired: bool) -> str:
    if max(seeds, default=1) == 1:
        return (
            f"Intervals and p-values cover the choice of {what} only, not the training seed (one seed each): "
            "another seed would give another difference."
        )
    number = str(seeds[0]) if len(set(seeds)) == 1 else f"{min(seeds)} to {max(seeds)}"
    text = f"Intervals and p-values cover the choice of {what} and of training seeds ({number} an arm"
    text += ", the same in every arm). " if paired else "). "
    if min(seeds) == 1:
        text += "Of an arm with one seed the scatter between seeds is not known and not covered. "
    if max(seeds) < FEW_SEEDS:
        text += "So few seeds tell little of their scatter; the intervals are widened for that. "
    return text.strip()


def outcome(difference: Interval, p_value: float) -> Outcome:
    """Better or worse only where the interval leaves out zero and the test agrees.

    Args:
        p_value: adjusted where several differences are tested.
    """
    if p_value <= SIGNIFICANCE and difference.low > 0:
        return "better"
    if p_value <= SIGNIFICANCE and difference.high < 0:
        return "worse"
    return "not distinguishable"


def images_needed(difference: Interval, images: int, rate: float = SQUARE_ROOT) -> int | None:
    """Images at which a true difference of the size seen would be found in 4 of 5 validation sets.

    None beyond a million images, and where the scatter of training seeds alone hides it.
    """
    if difference.estimate == 0:
        return None
    needed = images_for(difference.estimate, difference, images, rate)
    return None if needed is None else max(images, needed)


def in_words(
    name: str,
    reference: str,
    difference: Interval,
    p_value: float,
    images: int,
    *,
    p_adjusted: float | None = None,
    rate: Rate | None = None,
) -> str:
    """The verdict on ``name`` against ``reference`` as one sentence, in AP points (AP x 100)."""
    judged = p_value if p_adjusted is None else p_adjusted
    evidence = f"(95 % interval, {_p_words('p', p_value)}"
    evidence += ")" if p_adjusted is None else f", {_p_words('adjusted', p_adjusted)})"
    low, estimate, high = (100 * ap for ap in (difference.low, difference.estimate, difference.high))
    found = outcome(difference, judged)
    if found == "better":
        size = f"{estimate:.1f} AP points [{low:.1f}, {high:.1f}]"
        return f"{name} is better than {reference} by {size} {evidence}"
    if found == "worse":
        size = f"{-estimate:.1f} AP points [{-high:.1f}, {-low:.1f}]"
        return f"{name} is worse than {reference} by {size} {evidence}"
    text = (
        f"{name} and {reference} are not distinguishable: "
        f"{_signed(estimate)} AP points [{_signed(low)}, {_signed(high)}] {evidence}"
    )
    outside = low > 0 or high < 0
    if outside and p_value <= SIGNIFICANCE:
        return f"{text}; it would count alone, but not among several differences"
    if outside != (judged <= SIGNIFICANCE):
        return f"{text}; the interval and the swap test disagree"
    if low == high:
        return f"{text}; they score the same on every resample"
    return f"{text}; {_needed_words(difference, images, rate)}"


def plan_in_words(plan: Plan) -> str:
    """What a plan says, in one or two sentences."""
    if plan.smallest_difference == 0:
        return "The two score the same on every resample: there is no error to plan from"
    size = f"{100 * plan.difference:g} AP points"
    now = f"these {plan.images:,} images" + (f" with {plan.seeds} seeds an arm" if plan.seeds > 1 else "")
    least = (
        f"{100 * plan.smallest_difference:.1f} AP points is the least that {now} can tell (80 % power at 5 %)"
    )
    few, many = plan.images_needed
    if few is None:
        needed = "no feasible number of images would do"
        if plan.seeds > 1:
            needed += f" with {plan.seeds} seeds an arm"
    else:
        needed = f"{_range(few, many)} images would be needed"
    text = f"To find a true difference of {size}, {needed}; {least}"
    if plan.seeds_needed is not None and plan.seeds_needed > plan.seeds:
        text += f". On {plan.images:,} images, {plan.seeds_needed} seeds an arm would do"
    elif plan.seeds > 1 and plan.seeds_needed is None:
        text += f". On {plan.images:,} images no number of seeds would do"
    return text


def _needed_words(difference: Interval, images: int, rate: Rate | None) -> str:
    few = images_needed(difference, images)
    many = few if rate is None else images_needed(difference, images, rate.measured)
    if few is None:
        hidden = (
            difference.estimate and images_for(difference.estimate, difference, images, SQUARE_ROOT) is None
        )
        if difference.seed_error and hidden:
            return (
                f"no feasible number of images would tell, with so few training seeds (now {images:,} images)"
            )
        return f"the difference is too small for any feasible number of images (now {images:,})"
    return f"{_range(few, many)} images would be needed to see a difference of this size (now {images:,})"


def _range(few: int, many: int | None) -> str:
    """One figure where both agree within a third, else both."""
    if many is None:
        return f"more than {_rounded(few):,}"
    if many <= 1.34 * few:
        return f"about {_rounded(few):,}"
    return f"about {_rounded(few):,} to {_rounded(many):,}"


def _p_words(name: str, value: float) -> str:
    return f"{name} < 0.001" if value < 0.001 else f"{name} = {value:.2g}"


def _signed(value: float) -> str:
    text = f"{value:+.1f}"
    return "0.0" if float(text) == 0 else text


def _rounded(count: int) -> int:
    """To two significant digits: the figure is an order of size, not a plan."""
    digits = len(str(count)) - 2
    return round(count, -digits) if digits > 0 else count
