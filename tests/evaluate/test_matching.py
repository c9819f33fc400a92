"""Matching once and reweighting equals COCO on a dataset with the images repeated."""

import copy
from typing import Any

import numpy as np
import pytest
from coco_cases import coco_cases, dataset, detector, oracle, oracle_areas, scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.evaluate.coco_metrics import evaluate_coco
from taco_kd.evaluate.greedy import match_greedily
from taco_kd.evaluate.inputs import check_coco
from taco_kd.evaluate.matching import AREAS, match, matches_of


def repeated(ground_truth: dict[str, Any], predictions: list[dict[str, Any]], counts: dict[int, int]) -> Any:
    """The dataset in which image i is there ``counts[i]`` times, its copies next to each other in order."""
    ids = {i: [100 * i + k for k in range(n)] for i, n in counts.items()}
    annotations = [
        a | {"image_id": copy_id} for a in ground_truth["annotations"] for copy_id in ids[a["image_id"]]
    ]
    more = dataset(
        [copy_id for copies in ids.values() for copy_id in copies],
        [c["id"] for c in ground_truth["categories"]],
        [a | {"id": n} for n, a in enumerate(annotations)],
    )
    return more, [p | {"image_id": copy_id} for p in predictions for copy_id in ids[p["image_id"]]]


@settings(max_examples=60, deadline=None)
@given(coco_cases())
def test_unit_weights_are_coco_ap(case: Any) -> None:
    ground_truth, predictions = case
    before = copy.deepcopy(case)
    matches = match(ground_truth, predictions)
    expected = evaluate_coco(ground_truth, predictions)
    by_name = {c.name: np.nan if c.ap is None else c.ap for c in expected.per_class}
    ones = np.ones((1, len(matches.image_ids)), dtype=np.int64)
    np.testing.assert_allclose(
        matches.class_ap(ones)[0], [by_name[n] for n in matches.class_names], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        matches.ap()[0], np.nan if expected.ap is None else expected.ap, rtol=0, atol=1e-12
    )
    assert case == before, "the arguments must not be changed"


@settings(max_examples=60, deadline=None)
@given(coco_cases())
def test_each_range_of_areas_is_coco_ap(case: Any) -> None:
    ground_truth, predictions = case
    expected = oracle_areas(ground_truth, predictions)  # {area: AP of each class}
    coco = check_coco(ground_truth, predictions)
    found = matches_of(coco, match_greedily(coco))
    assert list(found) == list(AREAS) == list(expected)
    for area, matches in found.items():
        ones = np.ones((1, len(matches.image_ids)), dtype=np.int64)
        np.testing.assert_allclose(matches.class_ap(ones)[0], expected[area], rtol=0, atol=1e-12)
        assert [box > 0 for box in matches.boxes] == list(np.isfinite(expected[area]))


@settings(max_examples=30, deadline=None)
@given(coco_cases(distinct_scores=True), st.data())
def test_a_set_of_chosen_images_is_a_weighting(case: Any, data: st.DataObject) -> None:
    matches = match(*case)
    number = len(matches.image_ids)
    chosen = np.sort(data.draw(st.lists(st.integers(0, number - 1), min_size=1, max_size=8)))
    weights = np.bincount(chosen, minlength=number)[None]
    ones = np.ones((1, len(chosen)), dtype=np.int64)
    np.testing.assert_allclose(
        matches.of_images(chosen).class_ap(ones), matches.class_ap(weights), rtol=0, atol=1e-12
    )


@settings(max_examples=60, deadline=None)
@given(coco_cases(distinct_scores=True), st.data())
def test_weights_are_repeated_images(case: Any, data: st.DataObject) -> None:
    ground_truth, predictions = case
    matches = match(ground_truth, predictions)
    counts = {i: data.draw(st.integers(0, 3)) for i in matches.image_ids}
    counts[matches.image_ids[0]] += not any(counts.values())
    weights = np.array([[counts[i] for i in matches.image_ids]])
    stats, per_class = oracle(*repeated(ground_truth, predictions, counts))
    names = {c["name"]: per_class[c["id"]] for c in ground_truth["categories"]}
    expected = [np.nan if names[n] is None else names[n] for n in matches.class_names]
    np.testing.assert_allclose(matches.class_ap(weights)[0], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        matches.ap(weights)[0], np.nan if stats[0] is None else stats[0], rtol=0, atol=1e-12
    )


def test_a_repeated_image_is_not_a_set() -> None:
    ground_truth = scenes(6)
    matches = match(ground_truth, detector(ground_truth, jitter=0.1))
    once, twice = matches.ap(np.array([[1, 1, 1, 0, 1, 1], [1, 3, 1, 0, 1, 1]]))
    assert once != twice


def test_many_weightings_at_once_are_the_same_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ground_truth = scenes(20)
    matches = match(ground_truth, detector(ground_truth, jitter=0.1))
    weights = np.random.default_rng(0).integers(0, 3, size=(30, 20))
    together = matches.ap(weights)
    monkeypatch.setattr("taco_kd.evaluate.weighted_ap.BATCH_ELEMENTS", 20)
    np.testing.assert_allclose(matches.ap(weights), together, rtol=0, atol=1e-13)
    one_by_one = np.concatenate([matches.ap(w[None]) for w in weights])
    np.testing.assert_allclose(one_by_one, together, rtol=0, atol=1e-13)


def test_without_any_box_ap_is_undefined() -> None:
    ground_truth = scenes(3)
    matches = match(ground_truth, detector(ground_truth, jitter=0.1))
    assert np.isnan(matches.ap(np.zeros((1, 3), dtype=np.int64)))


def test_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    match(scenes(3), detector(scenes(3), jitter=0.1))
    assert capfd.readouterr() == ("", "")
