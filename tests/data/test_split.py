"""The random split: sizes, determinism, and that nothing is lost or shared."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.data.split import grouped_parts, random_folds, split_ids, stratified_parts
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


groups = st.lists(st.integers(1, 6), min_size=2, max_size=30).map(
    lambda sizes: [list(range(sum(sizes[:k]), sum(sizes[: k + 1]))) for k in range(len(sizes))]
)
shares = st.sampled_from([(0.15, 0.85), (0.5, 0.5), (0.2, 0.2, 0.2, 0.2, 0.2)])


@given(groups, shares, st.integers(0, 99), st.booleans())
@settings(deadline=None, max_examples=100)
def test_groups_stay_whole_and_nothing_is_lost(
    groups: list[list[int]], shares: tuple[float, ...], seed: int, stratify: bool
) -> None:
    ids = [i for group in groups for i in group]
    classes = {i: {i % 3, (i * 7) % 5} if i % 4 else set() for i in ids}

    def cut(given: list[list[int]]) -> list[list[int]]:
        if stratify:
            return stratified_parts(given, classes, shares=shares, seed=seed)
        return grouped_parts(given, shares=shares, seed=seed)

    parts = cut(groups)
    assert len(parts) == len(shares)
    assert sorted(i for part in parts for i in part) == ids
    for group in groups:
        assert sum(bool(set(group) & set(part)) for part in parts) == 1
    assert parts == cut([group[::-1] for group in reversed(groups)])


@given(st.integers(2, 60), st.integers(2, 7), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_folds_are_even_and_a_partition(count: int, folds: int, seed: int) -> None:
    parts = random_folds(range(count), folds=folds, seed=seed)
    assert sorted(i for part in parts for i in part) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_single_images_fill_the_shares_exactly() -> None:
    parts = grouped_parts([[i] for i in range(1498)], shares=(0.15, 0.85), seed=0)
    assert [len(part) for part in parts] == [225, 1273]


def test_stratification_gives_rare_classes_their_share() -> None:
    # 100 images; class 1 on 20 of them, class 2 on 10, class 3 on 4, and 66 without any.
    classes = {i: {1} if i < 20 else {2} if i < 30 else {3} if i < 34 else set() for i in range(100)}
    for seed in range(20):
        val, train = stratified_parts([[i] for i in range(100)], classes, shares=(0.25, 0.75), seed=seed)
        shown = [sum(label in classes[i] for i in val) for label in (1, 2, 3)]
        assert shown[0] == 5
        assert shown[1] in (2, 3)
        assert shown[2] == 1
        assert 23 <= len(val) <= 27
        assert len(train) == 100 - len(val)


def test_stratification_of_images_that_show_several_classes() -> None:
    # Every image shows class 0; half of them shows class 1; few show class 2, always with 1.
    classes = {i: {0} | ({1} if i % 2 else set()) | ({2} if i % 20 == 1 else set()) for i in range(200)}
    val, _ = stratified_parts([[i] for i in range(200)], classes, shares=(0.2, 0.8), seed=3)
    counts = [sum(label in classes[i] for i in val) for label in (0, 1, 2)]
    assert counts == [40, 20, 2]


def test_folds_of_groups_are_even() -> None:
    sizes = [25, 11, 17, 14, 9, 17, 18, 9]
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    groups = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
    parts = grouped_parts(groups, shares=[0.2] * 5, seed=0)
    assert sorted(map(len, parts)) == [18, 25, 25, 26, 26]


def test_a_group_larger_than_every_part_goes_where_most_room_is() -> None:
    parts = grouped_parts([list(range(90)), [90], [91], [92]], shares=(0.15, 0.85), seed=0)
    assert parts == [[90, 91, 92], list(range(90))]
