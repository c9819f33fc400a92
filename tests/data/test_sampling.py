"""Class-balanced sampling: LVIS's repeat factors, in an order that follows from seed and epoch alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.sampling import Sampling, epoch_order, repeat_factors


def test_factors_are_those_of_lvis():
    shown = [[0]] * 60 + [[0, 1]] * 36 + [[2]] * 4 + [[]] * 0
    # shares: class 0 in 0.96 of the images, 1 in 0.36, 2 in 0.04, 3 in none
    factors = repeat_factors([np.array(s, dtype=int) for s in shown], 4, below=0.36)
    assert factors[0] == 1
    assert factors[60] == 1
    assert factors[99] == pytest.approx((0.36 / 0.04) ** 0.5)
    assert np.array_equal(factors, repeat_factors([np.array(s) for s in shown], 4, below=None))  # the median


def test_images_without_objects_are_seen_once():
    shown = [np.array([], dtype=int), np.array([0]), np.array([1]), np.array([1]), np.array([1])]
    assert repeat_factors(shown, 2, below=0.9)[0] == 1
    assert repeat_factors([np.array([], dtype=int)] * 3, 2, None).tolist() == [1, 1, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.1, 30), min_size=1, max_size=40), st.integers(0, 9), st.integers(0, 9))
def test_an_epoch_has_each_image_as_often_as_its_share_rounded(weights, seed, epoch):
    factors = np.array(weights)
    order = epoch_order(len(factors), [seed, epoch], factors)
    assert len(order) == len(factors)
    counts = Counter(order.tolist())
    wanted = factors / factors.sum() * len(factors)
    for place, share in enumerate(wanted):
        assert np.floor(share - 1e-9) <= counts[place] <= np.ceil(share + 1e-9)
    assert np.array_equal(order, epoch_order(len(factors), [seed, epoch], factors))


def test_equal_factors_show_each_image_once():
    order = epoch_order(30, [0, 0], np.ones(30))
    assert sorted(order.tolist()) == list(range(30))


def test_uniform_order_is_numpys_permutation():
    assert np.array_equal(epoch_order(20, [3, 1]), np.random.default_rng([3, 1]).permutation(20))


def test_rare_classes_are_seen_more_often(small_data):
    data = DetectionDataset(small_data, "train", 64)
    names = Counter(c for t in data.targets for c in set(t.class_ids.tolist()))
    rare = min(names, key=lambda c: (names[c], c))
    holders = {p for p, t in enumerate(data.targets) if rare in t.class_ids}

    def seen(sampling):
        steps = [
            data.step_positions(s, batch_size=4, seed=0, sampling=sampling)[0]
            for s in range(20 * (len(data) // 4))
        ]
        return sum(p in holders for step in steps for p in step)

    assert seen(Sampling(0.9)) > 1.2 * seen(None)
    a, b = (data.step_positions(9, batch_size=4, seed=0, sampling=Sampling(0.9)) for _ in range(2))
    assert a == b
