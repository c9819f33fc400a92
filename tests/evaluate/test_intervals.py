"""Intervals cover the truth, the swap test equals full enumeration, degenerate cases are flagged."""

from itertools import product

import numpy as np
import pytest
from coco_cases import dataset, detector, scenes
from scipy import stats

from taco_kd.errors import DataError, UsageError
from taco_kd.evaluate.coco_metrics import evaluate_coco
from taco_kd.evaluate.intervals import Interval, bca_ends, degrees_of_freedom, interval_of, t_test
from taco_kd.evaluate.matching import match
from taco_kd.evaluate.resampling import Draws, contrast, each_image_alone
from taco_kd.evaluate.swap import swap_test
from taco_kd.evaluate.verdict import outcome
from taco_kd.evaluate.weighted_ap import Floats, Matches


def bootstrap(a: Matches, b: Matches, *, resamples: int = 300, seed: int = 0) -> Interval:
    """The interval of ``b - a`` over images."""
    draws = Draws.make(each_image_alone(len(a.image_ids)), resamples=resamples, seed=seed)
    values = (each.ap(draws.weights)[None] for each in (a, b))
    return interval_of(contrast(*values, paired=False), draws)


def plain_draws(resamples: int, left_out: int, *, groups: int | None = None, seed: int = 0) -> Draws:
    """Rows without weights, for values that were drawn elsewhere."""
    none = np.zeros((1 + resamples + left_out, 1), dtype=np.int64)
    return Draws(none, resamples, left_out, groups or left_out, seed)


def values_of(estimate: float, resampled: Floats, jackknife: Floats) -> Floats:
    return np.concatenate([[estimate], resampled, jackknife])[None]


def test_bca_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    sample = rng.exponential(size=30)
    result = stats.bootstrap((sample,), np.mean, n_resamples=2000, method="BCa", rng=rng)
    jackknife = np.array([np.delete(sample, i).mean() for i in range(len(sample))])
    ends = bca_ends(sample.mean(), result.bootstrap_distribution, jackknife)
    assert ends == pytest.approx(result.confidence_interval, abs=1e-9)


def test_of_a_mean_the_interval_is_the_t_interval() -> None:
    """For a plain mean both variances are exact, and little is left of all corrections but Student's t."""
    rng = np.random.default_rng(1)
    sample = rng.normal(size=60)
    resampled = sample[rng.integers(0, 60, (40_000, 60))].mean(axis=1)
    jackknife = np.array([np.delete(sample, i).mean() for i in range(60)])
    draws = plain_draws(40_000, 60)
    interval = interval_of([values_of(sample.mean(), resampled, jackknife)], draws)
    error = sample.std(ddof=1) / np.sqrt(60)
    assert interval.jackknife_error == pytest.approx(error)
    assert interval.bootstrap_error == pytest.approx(error, rel=0.01)
    assert interval.standard_error == pytest.approx(error, rel=0.01)
    low, high = stats.t.interval(0.95, 59, sample.mean(), error)
    assert interval.basic[1] - interval.basic[0] == pytest.approx(high - low, rel=0.03)
    p_value = t_test([values_of(sample.mean(), resampled, jackknife)], draws)
    assert p_value == pytest.approx(stats.ttest_1samp(sample, 0).pvalue, rel=0.05)


def test_degrees_of_freedom() -> None:
    rng = np.random.default_rng(0)
    assert degrees_of_freedom(rng.normal(size=4000)) == pytest.approx(4000, rel=0.1)
    few_decide = np.concatenate([rng.normal(size=200), 20 * rng.normal(size=8)])
    assert 3 < degrees_of_freedom(few_decide) < 12
    assert degrees_of_freedom(np.array([1.0, -1.0, 1.0, -1.0])) == 3
    assert degrees_of_freedom(np.full(9, 0.3)) == 8
    assert degrees_of_freedom(np.zeros(0)) == 1


def test_resamples_are_recentred_and_their_shift_is_the_bias() -> None:
    resampled = np.random.default_rng(0).normal(0.55, 0.02, 5000)
    jackknife = 0.5 + 0.02 / np.sqrt(99) * np.random.default_rng(1).standard_normal(100)
    interval = interval_of([values_of(0.5, resampled, jackknife)], plain_draws(5000, 100))
    assert interval.bias == pytest.approx(0.05, abs=0.002)
    assert (interval.low + interval.high) / 2 == pytest.approx(0.5, abs=0.003)
    assert interval.method == "BCa"
    wanted = np.sqrt((interval.bootstrap_error**2 + interval.jackknife_error**2) / 2)
    assert interval.standard_error == interval.image_error == pytest.approx(wanted)


def test_where_bca_breaks_down_the_interval_is_basic() -> None:
    resampled = np.linspace(0.5, 0.7, 1001)
    interval = interval_of([values_of(0.6, resampled, np.full(4, 0.6))], plain_draws(1001, 4))
    assert interval.method == "basic"
    assert interval.bca is None
    assert (interval.low, interval.high) == interval.basic


def test_both_kinds_of_ends_are_there_and_either_is_reported() -> None:
    resampled = np.random.default_rng(0).gamma(2, 0.1, 2000)
    jackknife = np.random.default_rng(1).gamma(2, 0.01, 50)
    values = values_of(0.2, resampled, jackknife)
    bca, basic = (interval_of([values], plain_draws(2000, 50), method=m) for m in ("bca", "basic"))
    assert (bca.bca, bca.basic) == (basic.bca, basic.basic)
    assert bca.bca != bca.basic
    assert ((bca.low, bca.high), (basic.low, basic.high)) == (bca.bca, bca.basic)
    assert (bca.method, basic.method) == ("BCa", "basic")


def test_the_spread_is_that_of_resampled_datasets() -> None:
    ground_truth = scenes(12)
    a, b = (match(ground_truth, detector(ground_truth, jitter=j, seed=s)) for j, s in ((0.1, 1), (0.2, 2)))
    interval = bootstrap(a, b, resamples=500, seed=3)
    draws = np.random.default_rng(9).multinomial(12, [1 / 12] * 12, size=2000)
    differences = b.ap(draws) - a.ap(draws)
    assert interval.estimate == b.ap()[0] - a.ap()[0]
    assert interval.bootstrap_error == pytest.approx(differences.std() * np.sqrt(12 / 11), rel=0.1)
    left_out = 1 - np.eye(12, dtype=np.int64)
    jackknife = b.ap(left_out) - a.ap(left_out)
    assert interval.jackknife_error == pytest.approx(np.sqrt(11 * jackknife.var()))
    assert interval.low < interval.estimate < interval.high


def test_same_seed_same_interval_and_order_only_flips_the_sign() -> None:
    ground_truth = scenes(15)
    a, b = (match(ground_truth, detector(ground_truth, jitter=0.1, seed=s)) for s in (1, 2))
    forward, again, back = (bootstrap(*pair, resamples=200) for pair in ((a, b), (a, b), (b, a)))
    assert forward == again
    assert back.standard_error == pytest.approx(forward.standard_error)
    assert swap_test(a, b, swaps=300) == swap_test(b, a, swaps=300)


def test_pairing_uses_the_same_images_for_both() -> None:
    ground_truth = scenes(30)
    good = detector(ground_truth, jitter=0.1)
    slightly_worse = [p | {"score": p["score"] * (0.5 if n % 9 == 0 else 1)} for n, p in enumerate(good)]
    a, b = match(ground_truth, good), match(ground_truth, slightly_worse)
    draws = Draws.make(each_image_alone(30), resamples=200, seed=0)
    alone = interval_of([a.ap(draws.weights)[None]], draws)
    assert bootstrap(a, b, resamples=200).standard_error < 0.5 * alone.standard_error


def test_a_model_against_itself() -> None:
    ground_truth = scenes(10)
    a = match(ground_truth, detector(ground_truth, jitter=0.1))
    difference = bootstrap(a, a, resamples=100)
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
        difference = bootstrap(a, b, seed=repeat)
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
    assert outcome(bootstrap(worse, better), swap_test(worse, better, swaps=300)) == "better"
    assert outcome(bootstrap(better, worse), swap_test(better, worse, swaps=300)) == "worse"


def test_swaps_of_several_seeds_equal_enumeration() -> None:
    """Whole images change hands in every pair of seeds, and the differences are averaged."""
    ground_truth = scenes(5, 2, seed=4)
    first = [detector(ground_truth, jitter=0.15, seed=s) for s in (1, 2)]
    second = [detector(ground_truth, jitter=0.05, seed=s) for s in (3, 4, 5)]
    differences = []
    for swapped in product([False, True], repeat=5):
        of_pairs = []
        for one, other in product(first, second):
            mixtures = [
                [p for p in x if not swapped[p["image_id"]]] + [p for p in y if swapped[p["image_id"]]]
                for x, y in ((one, other), (other, one))
            ]
            a, b = (evaluate_coco(ground_truth, mixture).ap for mixture in mixtures)
            of_pairs.append(b - a)
        differences.append(abs(np.mean(of_pairs)))
    exact = np.mean(np.array(differences) >= differences[0] - 1e-12)
    arms = ([match(ground_truth, p) for p in arm] for arm in (first, second))
    assert 0.02 < exact < 0.9, "the case must be able to tell"
    assert swap_test(*arms, swaps=4000) == pytest.approx(exact, abs=0.03)


def test_whole_groups_are_swapped() -> None:
    """With two groups there are two different outcomes: both kept, or one exchanged."""
    ground_truth = scenes(8, 2, seed=4)
    a, b = (match(ground_truth, detector(ground_truth, jitter=j, seed=1)) for j in (0.2, 0.02))
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert swap_test(a, b, swaps=2000, groups=groups) > 0.4
    assert swap_test(a, b, swaps=2000) < 0.1


def test_refusals() -> None:
    ground_truth = scenes(5)
    a = match(ground_truth, detector(ground_truth, jitter=0.1))
    with pytest.raises(DataError, match="same images"):
        swap_test(a, match(scenes(6), []))
    with pytest.raises(UsageError, match="resamples = 10"):
        Draws.make(each_image_alone(5), resamples=10, seed=0)
    with pytest.raises(DataError, match="1 image: a comparison needs at least 2"):
        Draws.make(each_image_alone(1), resamples=100, seed=0)
    one = match(scenes(1), [])
    with pytest.raises(DataError, match="at least 2"):
        swap_test(one, one)
    with pytest.raises(DataError, match="5 images in 1 group"):
        swap_test(a, a, groups=np.zeros(5, dtype=np.int64))
    empty = match(dataset([1, 2], [0], []), [])
    with pytest.raises(DataError, match="no boxes"):
        swap_test(empty, empty)
