"""Plans by hand, and against simulation where the truth is known."""

import numpy as np
import pytest
from scipy import stats

from taco_kd.evaluate.intervals import Interval
from taco_kd.evaluate.multiplicity import holm
from taco_kd.evaluate.power import Rate, images_for, plan, power_of, rate_of
from taco_kd.evaluate.resampling import Draws, each_image_alone
from taco_kd.evaluate.verdict import plan_in_words

SQUARE_ROOT = Rate(0.5, True)


def errors(image_error: float, seed_error: float | None = None) -> Interval:
    total = np.hypot(image_error, seed_error or 0.0)
    return Interval(
        0.0, -1, 1, bias=0, standard_error=total, method="BCa", image_error=image_error, seed_error=seed_error
    )


def test_plan_by_hand() -> None:
    # (1.96 + 0.84) x 0.01 = 2.8 points are found now; half of that needs four times the images.
    found = plan(0.014, errors(0.01), images=225, seeds=1, rate=SQUARE_ROOT)
    assert found.smallest_difference == pytest.approx(0.0280158, rel=1e-4)
    assert found.images_needed == (902, 902)  # 225 x (2.80160 / 1.4)^2, rounded up
    assert found.seeds_needed is None
    now = next(point for point in found.curve if point.images == 225)
    assert now.power == pytest.approx((power_of(0.014, 0.01),) * 2)
    four_times = next(point for point in found.curve if point.images == 900)
    assert four_times.power[0] == pytest.approx(0.8, abs=0.001)
    assert plan_in_words(found) == (
        "To find a true difference of 1.4 AP points, about 900 images would be needed; 2.8 AP points is the "
        "least that these 225 images can tell (80 % power at 5 %)"
    )


def test_power_is_that_of_the_z_test() -> None:
    assert power_of(0.0, 0.01) == pytest.approx(0.05, abs=1e-5)
    assert power_of(0.02801585, 0.01) == pytest.approx(0.8, abs=1e-5)
    assert power_of(-0.02801585, 0.01) == pytest.approx(0.8, abs=1e-5)
    draws = np.random.default_rng(0).normal(0.015, 0.01, 100_000)
    assert power_of(0.015, 0.01) == pytest.approx(np.mean(np.abs(draws) > 0.0196), abs=0.005)
    assert power_of(0.01, 0.0) == 1.0


def test_seeds_are_planned_where_images_are_enough() -> None:
    found = plan(0.03, errors(0.008, 0.02), images=500, seeds=3, rate=SQUARE_ROOT)
    # Variance wanted: (0.03 / 2.8)^2 = 1.147e-4, of which images take 0.64e-4; 3 seeds give 4e-4.
    assert found.seeds_needed == 24
    assert found.images_needed == (None, None)
    words = plan_in_words(found)
    assert "no feasible number of images would do with 3 seeds an arm" in words
    assert "On 500 images, 24 seeds an arm would do" in words
    assert plan(0.01, errors(0.008, 0.002), images=500, seeds=3, rate=SQUARE_ROOT).seeds_needed is None


def test_a_million_images_is_too_many() -> None:
    assert images_for(1e-5, errors(0.01), 225, 0.5) is None
    assert images_for(0.1, errors(0.01), 225, 0.5) == 18


def test_the_rate_of_a_mean_is_the_square_root_and_of_a_common_error_is_not() -> None:
    draws = Draws.make(each_image_alone(400), resamples=100, seed=0)
    sample = np.random.default_rng(0).normal(size=400)
    weights = draws.weights / draws.weights.sum(axis=1, keepdims=True)
    mean = (sample @ weights.T)[None]
    assert rate_of([mean], draws).measured == pytest.approx(0.5, abs=0.08)
    small = Draws.make(each_image_alone(20), resamples=100, seed=0)
    assert rate_of([mean], small) == Rate(0.5, False)


def test_planned_images_have_the_planned_power() -> None:
    """A paired difference of means: plan from one set, then test on many sets of the size it asks for."""
    rng = np.random.default_rng(3)
    true, images = 0.3, 80
    draws = Draws.make(each_image_alone(images), resamples=400, seed=0)
    sample = rng.normal(true, 1.5, images)
    weights = draws.weights / draws.weights.sum(axis=1, keepdims=True)
    from taco_kd.evaluate.intervals import interval_of

    values = (sample @ weights.T)[None]
    found = interval_of([values], draws)
    needed, slow = plan(true, found, images=images, seeds=1, rate=rate_of([values], draws)).images_needed
    assert needed is not None
    assert slow is not None
    assert needed <= slow <= 3 * needed
    exact = (2.8016 * 1.5 / true) ** 2
    assert needed == pytest.approx(exact, rel=0.35)  # the error is known to 8 % from 80 images
    p_values = stats.ttest_1samp(rng.normal(true, 1.5, (400, round(exact))), 0, axis=1).pvalue
    assert np.mean(p_values < 0.05) == pytest.approx(0.8, abs=0.07)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.5: times 4, 3, 2, 1, never falling.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.4, 0.6]) == pytest.approx([0.8, 0.8])
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holm_keeps_the_family_error() -> None:
    rng = np.random.default_rng(0)
    families = rng.random((4000, 5))
    errors_made = np.mean([min(holm(list(family))) <= 0.05 for family in families])
    assert errors_made == pytest.approx(0.05, abs=0.012)
