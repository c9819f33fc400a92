"""Verdicts in words."""

import pytest

from taco_kd.evaluate.intervals import Interval
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


def test_caveat() -> None:
    assert "not the training seed (one seed each)" in caveat(images=225, differences=1)
    assert "12 images" in caveat(images=12, differences=1)
    assert "not corrected" in caveat(images=225, differences=3)
