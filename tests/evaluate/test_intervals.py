"""Intervals cover the truth, the swap test equals full enumeration, degenerate cases are flagged."""

from itertools import product

import numpy as np
import pytest
from coco_cases import dataset, detector, scenes
from scipy import stats

from taco_kd.errors import DataError, UsageError
from taco_kd.evaluate.coco_metrics import evaluate_coco
from taco_kd.evaluate.intervals import _interval, bootstrap_paired, swap_test
from taco_kd.evaluate.matching import match
from taco_kd.evaluate.verdict import outcome


def test_bca_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    sample = rng.exponential(size=30)
    result = stats.bootstrap((sample,), np.mean, n_resamples=2000, method="BCa", rng=rng)
    jackknife = np.array([np.delete(sample, i).mean() for i in range(len(sample))])
    interval = _interval(sample.mean(), result.bootstrap_distribution, jackknife)
    assert interval.method == "BCa"
    assert interval.low == pytest.approx(result.confidence_interval.low, abs=1e-9)
    assert interval.high == pytest.approx(result.confidence_interval.high, abs=1e-9)
    assert interval.standard_error == pytest.approx(result.standard_error)


def test_where_bca_breaks_down_the_interval_is_basic() -> None:
    resampled = np.linspace(0.5, 0.7, 1001)  # all above the estimate: no bias correction exists
    interval = _interval(0.4, resampled, np.array([0.38, 0.4, 0.42]))
    assert interval.method == "basic"
    assert (interval.low, interval.high) == pytest.approx((0.8 - 0.695, 0.8 - 0.505))
    assert interval.bias == pytest.approx(0.2)


def test_bootstrap_is_the_spread_over_resampled_datasets() -> None:
    ground_truth = scenes(12)
    a, b = (match(ground_truth, detector(ground_truth, jitter=j, seed=s)) for j, s in ((0.1, 1), (0.2, 2)))
    paired = bootstrap_paired(a, b, resamples=500, seed=3)
    draws = np.random.default_rng(9).multinomial(12, [1 / 12] * 12, size=2000)
    differences = b.ap(draws) - a.ap(draws)
    assert paired.difference.estimate == b.ap()[0] - a.ap()[0]
    assert paired.difference.standard_error == pytest.approx(differences.std(), rel=0.1)
    assert paired.a.estimate + paired.difference.estimate == pytest.approx(paired.b.estimate)
    assert paired.difference.low < paired.difference.estimate < paired.difference.high


def test_same_seed_same_interval_and_order_only_flips_the_sign() -> None:
    ground_truth = scenes(15)
    a, b = (match(ground_truth, detector(ground_truth, jitter=0.1, seed=s)) for s in (1, 2))
    forward, again, back = (bootstrap_paired(*pair, resamples=200) for pair in ((a, b), (a, b), (b, a)))
    assert forward == again
    assert back.difference.standard_error == pytest.approx(forward.difference.standard_error)
    assert swap_test(a, b, swaps=300) == swap_test(b, a, swaps=300)


def test_pairing_uses_the_same_images_for_both() -> None:
    ground_truth = scenes(30)
    good = detector(ground_truth, jitter=0.1)
    slightly_worse = [p | {"score": p["score"] * (0.5 if n % 9 == 0 else 1)} for n, p in enumerate(good)]
    paired = bootstrap_paired(match(ground_truth, good), match(ground_truth, slightly_worse), resamples=200)
    assert paired.difference.standard_error < 0.5 * paired.a.standard_error


def test_a_model_against_itself() -> None:
    ground_truth = scenes(10)
    a = match(ground_truth, detector(ground_truth, jitter=0.1))
    difference = bootstrap_paired(a, a, resamples=100).difference
    assert (difference.estimate, difference.low, difference.high, difference.method) == (0, 0, 0, "basic")
    assert swap_test(a, a, swaps=100) == 1.0


def test_swap_test_equals_enumeration_of_all_swaps() -> None:
    ground_truth = scenes(6, 2, seed=4)
    first = detector(ground_truth, jitter=0.15, seed=1)
    second = detector(ground_truth, jitter=0.05, seed=2)
    differences = []
    for swapped in product([False, True], repeat=6):
        mixtures = [
            [p for p in one if not swapped[p["image_id"]]] + [p for p in other if swapped[p["image_id"]]]
            for one, other in ((first, second), (second, first))
        ]
        of_first, of_second = (evaluate_coco(ground_truth, mixture).ap for mixture in mixtures)
        differences.append(abs(of_second - of_first))
    exact = np.mean(np.array(differences) >= differences[0] - 1e-12)
    p_value = swap_test(match(ground_truth, first), match(ground_truth, second), swaps=4000)
    assert 0.02 < exact < 0.9, "the case must be able to tell"
    assert p_value == pytest.approx(exact, abs=0.03)


def test_interval_covers_zero_for_equally_good_detectors() -> None:
    covered, judged_different, widths = 0, 0, []
    for repeat in range(40):
        ground_truth = scenes(40, seed=repeat)
        a, b = (
            match(ground_truth, detector(ground_truth, jitter=0.12, seed=1000 * side + repeat))
            for side in (1, 2)
        )
        difference = bootstrap_paired(a, b, resamples=300, seed=repeat).difference
        p_value = swap_test(a, b, swaps=200, seed=repeat)
        covered += difference.low <= 0 <= difference.high
        judged_different += outcome(difference, p_value) != "not distinguishable"
        widths.append(difference.high - difference.low)
    assert covered >= 34  # 38 expected; below 34 has a probability of 1 %
    assert judged_different <= 6
    assert np.mean(widths) < 0.25, "an interval that covers everything says nothing"


@pytest.mark.parametrize("seed", range(4))
def test_a_clearly_better_detector_is_better(seed: int) -> None:
    ground_truth = scenes(40, seed=seed)
    worse = match(ground_truth, detector(ground_truth, jitter=0.15, recall=0.6, seed=100 + seed))
    better = match(ground_truth, detector(ground_truth, jitter=0.05, recall=0.9, seed=200 + seed))
    pair = bootstrap_paired(worse, better, resamples=300)
    assert outcome(pair.difference, swap_test(worse, better, swaps=300)) == "better"
    back = bootstrap_paired(better, worse, resamples=300)
    assert outcome(back.difference, swap_test(better, worse, swaps=300)) == "worse"


def test_progress_reaches_its_total() -> None:
    ground_truth = scenes(5)
    a = match(ground_truth, detector(ground_truth, jitter=0.1))
    ticks: list[tuple[int, int]] = []
    bootstrap_paired(
        a, a, resamples=150, on_progress=lambda done, total, note="": ticks.append((done, total))
    )
    assert ticks[-1] == (156, 156)
    assert [done for done, _ in ticks] == sorted(done for done, _ in ticks)


def test_refusals() -> None:
    ground_truth = scenes(5)
    a = match(ground_truth, detector(ground_truth, jitter=0.1))
    with pytest.raises(DataError, match="same images"):
        bootstrap_paired(a, match(scenes(6), []))
    with pytest.raises(UsageError, match="resamples = 10"):
        bootstrap_paired(a, a, resamples=10)
    one = match(scenes(1), [])
    with pytest.raises(DataError, match="at least 2"):
        swap_test(one, one)
    empty = match(dataset([1, 2], [0], []), [])
    with pytest.raises(DataError, match="no boxes"):
        bootstrap_paired(empty, empty)
