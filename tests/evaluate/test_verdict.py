"""Verdicts in words."""

import pytest

from taco_kd.evaluate.intervals import Interval
from taco_kd.evaluate.power import Rate
from taco_kd.evaluate.verdict import caveat, images_needed, in_words, outcome


def interval(low: float, estimate: float, high: float, *, error: float = 0.01) -> Interval:
    return Interval(estimate, low, high, bias=0.0, standard_error=error, method="BCa")


def test_better() -> None:
    words = in_words("distilled", "baseline", interval(0.004, 0.018, 0.031), 0.01, 225)
    assert words == (
        "distilled is better than baseline by 1.8 AP points [0.4, 3.1] (95 % interval, p = 0.01)"
    )


def test_worse_turns_the_interval_round() -> None:
    words = in_words("distilled", "baseline", interval(-0.031, -0.018, -0.004), 0.00099, 225)
    assert words == (
        "distilled is worse than baseline by 1.8 AP points [0.4, 3.1] (95 % interval, p < 0.001)"
    )


def test_not_distinguishable_says_how_many_images_would_do() -> None:
    words = in_words("distilled", "baseline", interval(-0.012, 0.006, 0.024, error=0.0092), 0.53, 225)
    assert words == (
        "distilled and baseline are not distinguishable: +0.6 AP points [-1.2, +2.4] "
        "(95 % interval, p = 0.53); about 4,200 images would be needed to see a difference of this size "
        "(now 225)"
    )


def test_images_needed_by_hand() -> None:
    # A difference of 2 standard errors needs ((1.96 + 0.84) / 2)^2 = 1.96 times the images.
    assert images_needed(interval(-0.001, 0.02, 0.04, error=0.01), 100) == 197
    assert images_needed(interval(-0.02, 1e-6, 0.02), 100) is None
    assert images_needed(interval(0, 0.0, 0), 100) is None


@pytest.mark.parametrize(
    ("ends", "p_value", "expected"),
    [
        ((0.001, 0.01, 0.02), 0.05, "better"),
        ((0.001, 0.01, 0.02), 0.06, "not distinguishable"),
        ((0.0, 0.01, 0.02), 0.01, "not distinguishable"),
        ((-0.02, -0.01, -0.001), 0.05, "worse"),
        ((-0.02, -0.01, 0.001), 0.05, "not distinguishable"),
    ],
)
def test_interval_and_test_must_agree(
    ends: tuple[float, float, float], p_value: float, expected: str
) -> None:
    assert outcome(interval(*ends), p_value) == expected


def test_disagreement_is_said() -> None:
    assert in_words("b", "a", interval(0.001, 0.01, 0.02), 0.06, 50).endswith(
        "the interval and the swap test disagree"
    )


def test_tiny_and_zero_differences() -> None:
    assert "too small for any feasible number" in in_words("b", "a", interval(-0.02, 1e-6, 0.02), 0.9, 50)
    assert "score the same on every resample" in in_words("b", "a", interval(0, 0, 0, error=0), 1.0, 50)


def test_slower_rates_need_more_images_and_both_are_said() -> None:
    found = interval(-0.012, 0.006, 0.024, error=0.0092)
    words = in_words("b", "a", found, 0.53, 225, rate=Rate(0.4, True))
    assert "about 4,200 to 8,600 images would be needed" in words
    assert "about 4,200 images" in in_words("b", "a", found, 0.53, 225, rate=Rate(0.49, True))
    assert "more than 4,200 images" in in_words("b", "a", found, 0.53, 225, rate=Rate(0.1, True))


def test_among_several_differences_the_adjusted_p_value_decides() -> None:
    found = interval(0.004, 0.018, 0.031)
    assert in_words("b", "a", found, 0.03, 225, p_adjusted=0.045) == (
        "b is better than a by 1.8 AP points [0.4, 3.1] (95 % interval, p = 0.03, adjusted = 0.045)"
    )
    words = in_words("b", "a", found, 0.03, 225, p_adjusted=0.06)
    assert words.startswith("b and a are not distinguishable")
    assert words.endswith("it would count alone, but not among several differences")


def test_where_seeds_hide_the_difference_no_number_of_images_helps() -> None:
    found = Interval(
        0.01, -0.02, 0.04, bias=0.0, standard_error=0.02, method="BCa", image_error=0.01, seed_error=0.017
    )
    assert "no feasible number of images would tell, with so few training seeds" in in_words(
        "b", "a", found, 0.5, 225
    )


def test_zero_has_no_sign() -> None:
    assert ": 0.0 AP points [-2.0, +2.0]" in in_words("b", "a", interval(-0.02, -0.0001, 0.02), 0.9, 225)


def test_caveat() -> None:
    assert "not the training seed (one seed each)" in caveat(images=225, differences=1)
    assert "12 images" in caveat(images=12, differences=1)
    assert "adjusted by Holm's method" in caveat(images=225, differences=3)
    seeds = caveat(images=225, differences=1, seeds=[3, 3], paired=True)
    assert "cover the choice of validation images and of training seeds (3 an arm, the same in" in seeds
    assert "So few seeds" in seeds
    assert "So few seeds" not in caveat(images=225, differences=1, seeds=[5, 5])
    assert "Of an arm with one seed" in caveat(images=225, differences=1, seeds=[1, 3])
    groups = caveat(images=225, differences=1, groups=15, group_source="batch")
    assert "whole groups of validation images (batch)" in groups
    assert "With 15 groups" in groups
