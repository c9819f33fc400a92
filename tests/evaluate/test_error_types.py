"""TIDE's kinds of error, each by hand; costs by hand and, where it is installed, against tidecv."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from coco_cases import dataset, detector, scenes

from taco_kd.evaluate.error_types import KINDS, costs, error_types
from taco_kd.evaluate.greedy import match_greedily
from taco_kd.evaluate.inputs import check_coco

Box = tuple[float, float, float, float]
OBJECT: Box = (20, 20, 40, 40)
FAR: Box = (150, 150, 30, 30)


def truth(*boxes: tuple[int, Box]) -> dict[str, Any]:
    rows = [
        {"id": n, "image_id": 1, "category_id": category, "bbox": list(box), "iscrowd": 0}
        for n, (category, box) in enumerate(boxes)
    ]
    return dataset([1, 2], [0, 1], rows)


def found(*hits: tuple[int, Box, float]) -> list[dict[str, Any]]:
    return [{"image_id": 1, "category_id": c, "bbox": list(box), "score": score} for c, box, score in hits]


def analysed(ground_truth: Any, predictions: Any) -> tuple[list[str], dict[str, tuple[int, Any]]]:
    """Kind of each prediction in its own order ("" for a hit), and (count, cost) of each kind."""
    coco = check_coco(ground_truth, predictions)
    matched = match_greedily(coco)
    errors = error_types(coco, matched)
    kinds = [""] * len(predictions)
    for row, code in zip(matched.row, errors.code, strict=True):
        kinds[row] = ["", *KINDS][code]
    each, summary = costs(matched, errors)
    return kinds, {cost.kind: (cost.count, cost.ap50_cost) for cost in [*each, *summary]}


@pytest.mark.parametrize(
    ("hits", "kinds"),
    [
        ([(0, OBJECT, 0.9)], [""]),
        ([(1, OBJECT, 0.9)], ["classification"]),
        ([(0, (40, 20, 40, 40), 0.9)], ["localisation"]),  # IoU 1/3
        ([(1, (40, 20, 40, 40), 0.9)], ["both"]),
        ([(0, OBJECT, 0.9), (0, OBJECT, 0.8)], ["", "duplicate"]),
        ([(0, FAR, 0.9)], ["background"]),
        ([(0, (57, 20, 40, 40), 0.9)], ["background"]),  # IoU 0.04
        # A lower score on the same object is the duplicate, whatever the order of the rows.
        ([(0, OBJECT, 0.8), (0, OBJECT, 0.9)], ["duplicate", ""]),
    ],
)
def test_each_kind_of_detection(hits: Any, kinds: list[str]) -> None:
    assert analysed(truth((0, OBJECT), (1, (100, 100, 30, 30))), found(*hits))[0] == kinds


def test_missed_are_boxes_that_no_error_explains() -> None:
    ground_truth = truth((0, OBJECT), (0, (100, 20, 40, 40)), (1, (20, 100, 40, 40)), (1, FAR))
    _, cost = analysed(ground_truth, found((1, OBJECT, 0.9), (0, (120, 20, 40, 40), 0.8)))
    assert cost["classification"][0] == cost["localisation"][0] == 1
    assert cost["missed"][0] == 2  # the other two are explained
    assert cost["false negatives"][0] == 4


def test_a_crowd_is_no_error_and_not_missed() -> None:
    ground_truth = truth((0, OBJECT), (0, (100, 100, 60, 60)))
    ground_truth["annotations"][1]["iscrowd"] = 1
    kinds, cost = analysed(ground_truth, found((0, OBJECT, 0.5), (0, (110, 110, 20, 20), 0.9)))
    assert kinds == ["", ""]
    assert cost["missed"][0] == cost["false negatives"][0] == cost["false positives"][0] == 0


def test_costs_by_hand() -> None:
    """Two boxes of one class, of which the detector finds one behind a false positive on nothing."""
    ground_truth = truth((0, OBJECT), (0, (100, 20, 40, 40)))
    _, cost = analysed(ground_truth, found((0, FAR, 0.9), (0, OBJECT, 0.8)))
    reached = 51 / 101  # recall levels up to a half
    assert cost["background"] == (1, pytest.approx(reached - 0.5 * reached))
    assert cost["missed"] == (1, pytest.approx(0.5 - 0.5 * reached))
    assert cost["false positives"] == (1, pytest.approx(0.5 * reached))
    assert cost["false negatives"] == (1, pytest.approx(0.5 - 0.5 * reached))
    assert [cost[kind][0] for kind in KINDS[:4]] == [0, 0, 0, 0]
    assert [cost[kind][1] for kind in KINDS[:4]] == [0, 0, 0, 0]


def test_a_mistaken_class_is_fixed_into_a_hit_of_the_right_one() -> None:
    ground_truth = truth((0, OBJECT), (1, FAR))
    _, cost = analysed(ground_truth, found((1, OBJECT, 0.9), (1, OBJECT, 0.7), (1, FAR, 0.8)))
    # Class 1 has precision 1/2 at its box and class 0 nothing; both become perfect.
    assert cost["classification"] == (2, pytest.approx((1 + 1) / 2 - (0 + 0.5) / 2))


def test_a_badly_placed_box_is_fixed_once() -> None:
    ground_truth = truth((0, OBJECT))
    beside: Box = (40, 20, 40, 40)
    _, cost = analysed(ground_truth, found((0, beside, 0.9), (0, beside, 0.8)))
    assert cost["localisation"] == (2, pytest.approx(1))
    # Where the object was found, the badly placed one goes: it would be a duplicate.
    _, cost = analysed(ground_truth, found((0, beside, 0.9), (0, OBJECT, 0.8)))
    assert cost["localisation"] == (1, pytest.approx(0.5))


def test_nothing_to_find_costs_nothing_that_can_be_measured() -> None:
    kinds, cost = analysed(dataset([1], [0], []), found((0, FAR, 0.9)))
    assert kinds == ["background"]
    assert cost["background"] == (1, None)


@pytest.mark.parametrize("seed", range(4))
def test_every_error_has_a_kind_and_no_fix_lowers_ap(seed: int) -> None:
    ground_truth = scenes(25, 3, seed=seed)
    predictions = [
        p for s in range(2) for p in detector(ground_truth, jitter=0.25, recall=0.7, clutter=5, seed=seed + s)
    ]
    _, cost = analysed(ground_truth, predictions)
    assert sum(cost[kind][0] for kind in KINDS[:-1]) == cost["false positives"][0]
    assert all(each >= -1e-12 for _, each in cost.values())
    assert cost["background"][0] > 10
    assert cost["localisation"][0] > 3


@pytest.mark.parametrize("seed", range(3))
def test_the_same_as_tidecv(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tidecv = pytest.importorskip("tidecv", reason="an optional check: pip install tidecv")
    # Its recall levels differ from COCO's in the last bit, which decides where recall equals a level.
    monkeypatch.setattr("taco_kd.evaluate.accumulate.RECALLS", np.arange(101) / 100)
    ground_truth = scenes(30, 3, seed=seed)
    predictions = [
        p
        for s in range(2)
        for p in detector(ground_truth, jitter=0.25, recall=0.7, clutter=3, seed=10 * seed + s)
    ]
    data, results = tidecv.Data("truth", max_dets=100), tidecv.Data("found", max_dets=100)
    for category in ground_truth["categories"]:
        data.add_class(category["id"], category["name"])
    for box in ground_truth["annotations"]:
        data.add_ground_truth(box["image_id"], box["category_id"], box["bbox"])
    for row in predictions:
        results.add_detection(row["image_id"], row["category_id"], row["score"], row["bbox"])
    tide = tidecv.TIDE()
    with contextlib.redirect_stdout(io.StringIO()):
        tide.evaluate(data, results, mode=tidecv.TIDE.BOX)
    run = tide.runs["found"]
    main = {error.short_name: value for error, value in run.fix_main_errors().items()}
    special = {error.short_name: value for error, value in run.fix_special_errors().items()}
    _, cost = analysed(ground_truth, predictions)
    names = dict(zip(("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), KINDS, strict=True))
    ours = {short: 100 * cost[kind][1] for short, kind in names.items()}
    assert ours == {short: pytest.approx(main[short], abs=1e-9) for short in names}
    assert 100 * cost["false positives"][1] == pytest.approx(special["FalsePos"], abs=1e-9)
    assert 100 * cost["false negatives"][1] == pytest.approx(special["FalseNeg"], abs=1e-9)
    assert {e.short_name: len(found) for e, found in run.error_dict.items()} == {
        short: cost[kind][0] for short, kind in names.items()
    }
