"""The search for close hashes against comparing every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.data import hash_search
from taco_kd.data.hash_search import close_pairs, distances, pack, plan


def by_hand(hashes: np.ndarray, threshold: int) -> set[tuple[int, int, int]]:
    return {
        (i, j, int((hashes[i] != hashes[j]).sum()))
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (hashes[i] != hashes[j]).sum() <= threshold
    }


def found(hashes: np.ndarray, threshold: int) -> set[tuple[int, int, int]]:
    pairs = close_pairs(hashes, threshold)
    rows = list(zip(*(column.tolist() for column in pairs), strict=True))
    assert rows == sorted(set(rows))
    return set(rows)


@given(
    count=st.integers(0, 30),
    bits=st.sampled_from([1, 16, 64, 100, 256]),
    threshold=st.integers(0, 12),
    flips=st.integers(0, 14),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_every_close_pair_is_found_once(count: int, bits: int, threshold: int, flips: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.random(bits) < 0.5
    hashes = np.array([base ^ (rng.random(bits) < flips / 2 / bits) for _ in range(count)]).reshape(-1, bits)
    assert found(hashes, threshold) == by_hand(hashes, threshold)


@pytest.mark.parametrize("threshold", [0, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 7])
def test_every_way_of_cutting_finds_the_same(
    monkeypatch: pytest.MonkeyPatch, threshold: int, number: int
) -> None:
    rng = np.random.default_rng(threshold)
    hashes = rng.random((120, 20)) < 0.5  # short, so that many are close
    monkeypatch.setattr(hash_search, "plan", lambda *_: hash_search._chunks(20, threshold, number))
    assert found(hashes, threshold) == by_hand(hashes, threshold)


def test_planted_pairs_among_many() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.random((20_000, 64)) < 0.5
    for k in range(100):
        hashes[10_000 + k] = hashes[k]
        hashes[10_000 + k, rng.choice(64, 3, replace=False)] ^= True
    assert plan(20_000, 64, 3)  # not by comparing all
    assert {(i, j) for i, j, _ in found(hashes, 3)} == {(k, 10_000 + k) for k in range(100)}


def test_old_numpy_counts_bits_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a, b = (pack(rng.random((50, 130)) < 0.5) for _ in range(2))
    expected = distances(a, b).tolist()
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert distances(a, b).tolist() == expected


@pytest.mark.parametrize(("shape", "threshold"), [((3,), 1), ((3, 4), -1)])
def test_wrong_arguments_are_refused(shape: tuple[int, ...], threshold: int) -> None:
    with pytest.raises(ValueError, match="need \\[N, B\\]"):
        close_pairs(np.zeros(shape, dtype=bool), threshold)
