"""The boxes of the viewer: choice of images, and right or wrong at every threshold."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from taco_kd.report.collect import Arm
from taco_kd.report.images import MATCH_IOU, Panel, iou_xywh, panel, spread


def seen(results: Sequence[dict[str, Any]], truth: Sequence[dict[str, Any]]) -> Panel:
    return panel(Arm("a", 0, {}, predictions={1: list(results)}), 1, truth, {0: "Can", 1: "Cup"})


def box(category_id: int, *bbox: float, score: float = 0.5) -> dict[str, Any]:
    return {"image_id": 1, "category_id": category_id, "bbox": list(bbox), "score": score}


def test_iou_by_hand() -> None:
    assert iou_xywh((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert iou_xywh((0, 0, 10, 10), (10, 0, 10, 10)) == 0
    assert iou_xywh((2, 3, 4, 5), (2, 3, 4, 5)) == 1


def test_a_true_box_is_found_once_and_by_its_own_class() -> None:
    truth = [box(0, 0, 0, 10, 10)]
    results = [
        box(0, 1, 0, 10, 10, score=0.6),  # right place and class, but second
        box(1, 0, 0, 10, 10, score=0.9),  # another class
        box(0, 0, 0, 10, 10, score=0.8),
        box(0, 8, 8, 10, 10, score=0.7),  # hardly overlaps
    ]
    shown = seen(results, truth)
    assert [(b.score, b.right) for b in shown.detections] == [
        (0.9, False),
        (0.8, True),
        (0.7, False),
        (0.6, False),
    ]
    assert shown.truth[0].score == 0.8
    assert (shown.found(0.75), shown.false(0.75)) == (1, 1)
    assert (shown.found(0.85), shown.false(0.85)) == (0, 1)


@pytest.mark.parametrize("seed", range(20))
def test_matching_once_agrees_with_matching_anew_at_each_threshold(seed: int) -> None:
    """What the slider relies on: hiding low scores does not change what is right above them."""
    rng = random.Random(seed)

    def some(n: int) -> list[dict[str, Any]]:
        return [
            box(rng.randrange(2), rng.uniform(0, 12), rng.uniform(0, 12), 20, 20, score=rng.uniform(0.05, 1))
            for _ in range(n)
        ]

    truth, results = some(4), some(12)
    once = seen(results, truth)
    for threshold in (0.1, 0.3, 0.5, 0.7, 0.9):
        anew = seen([r for r in results if r["score"] >= threshold], truth)
        assert once.found(threshold) == anew.found(threshold)
        assert once.false(threshold) == anew.false(threshold)
        assert [b.score >= threshold for b in once.truth] == [b.score > 0 for b in anew.truth]


def test_low_iou_is_wrong_and_equal_to_the_limit_is_right() -> None:
    truth = [box(0, 0, 0, 10, 10)]
    assert seen([box(0, 0, 0, 10, 10 * MATCH_IOU)], truth).found(0.05) == 1
    assert seen([box(0, 0, 0, 10, 10 * MATCH_IOU - 0.1)], truth).found(0.05) == 0


def test_spread_takes_even_steps_through_the_number_of_boxes() -> None:
    images = [{"id": i} for i in range(10)]
    boxes = {i: 9 - i for i in range(10)}
    assert [i["id"] for i in spread(images, boxes, 4)] == [9, 6, 3, 0]
    assert [i["id"] for i in spread(images, boxes, 1)] == [4]
    assert spread(images, boxes, 0) == []
    assert len(spread(images, boxes, 99)) == 10
    assert [i["id"] for i in spread(images[:3], {}, 2)] == [0, 2]  # ties by id
