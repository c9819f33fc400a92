"""The random split: sizes, determinism, and that nothing is lost or shared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taco_kd.data.split import split_ids
from taco_kd.errors import DataError


def test_taco_is_cut_as_in_the_paper() -> None:
    parts = split_ids(range(1498), train_ratio=0.85, seed=0)
    assert (len(parts["train"]), len(parts["val"])) == (1273, 225)


@given(ids=st.sets(st.integers(0, 2**53), min_size=10, max_size=60), seed=st.integers(0, 2**32))
def test_parts_are_a_partition_that_ignores_the_order(ids: set[int], seed: int) -> None:
    parts = split_ids(ids, train_ratio=0.7, seed=seed)
    assert sorted(parts["train"] + parts["val"]) == sorted(ids)
    assert parts == split_ids(sorted(ids, reverse=True), train_ratio=0.7, seed=seed)
    assert parts["train"] == sorted(parts["train"])


def test_seed_decides() -> None:
    assert split_ids(range(50), train_ratio=0.5, seed=1) != split_ids(range(50), train_ratio=0.5, seed=2)
    # Any image may land in either part: the cut is not along the ids.
    train = split_ids(range(1000), train_ratio=0.5, seed=0)["train"]
    assert 200 < sum(i < 500 for i in train) < 300


@pytest.mark.parametrize(("count", "ratio"), [(0, 0.5), (1, 0.5), (2, 0.99), (3, 0.01)])
def test_empty_part_is_refused(count: int, ratio: float) -> None:
    with pytest.raises(DataError, match=f"of {count} images"):
        split_ids(range(count), train_ratio=ratio, seed=0)
