"""Curves, confusion, calibration and the worst images: by hand, by brute force, and against each other."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from coco_cases import coco_cases, dataset, detector, scenes
from hypothesis import given, settings

from taco_kd.errors import UsageError
from taco_kd.evaluate.analysis import Analysis, analyse
from taco_kd.evaluate.calibration import calibration
from taco_kd.evaluate.coco_metrics import evaluate_coco
from taco_kd.evaluate.confusion import confusion
from taco_kd.evaluate.error_types import KINDS
from taco_kd.evaluate.greedy import match_greedily
from taco_kd.evaluate.inputs import check_coco

LEFT, RIGHT, FAR = [10.0, 10.0, 50.0, 50.0], [100.0, 10.0, 50.0, 50.0], [10.0, 120.0, 40.0, 40.0]


def box(category: int, bbox: list[float], image: int = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": bbox, **more}


def truth(*boxes: dict[str, Any], images: Any = (1, 2), classes: Any = (5, 2)) -> dict[str, Any]:
    """Categories are listed in an order that is not that of their ids."""
    return dataset(list(images), list(classes), [b | {"id": n} for n, b in enumerate(boxes)])


def both(ground_truth: Any, predictions: Any) -> Any:
    coco = check_coco(ground_truth, predictions)
    return coco, match_greedily(coco)


def test_confusion_by_hand() -> None:
    ground_truth = truth(box(5, LEFT), box(2, RIGHT), box(2, FAR), box(2, FAR, image=2, iscrowd=1))
    predictions = [
        box(5, LEFT, score=0.9),  # right
        box(2, LEFT, score=0.8),  # the box is taken: background
        box(5, RIGHT, score=0.7),  # 2 taken for 5
        box(5, FAR, score=0.2),  # not confident enough: missed
        box(5, [150.0, 150.0, 20.0, 20.0], score=0.6),  # on nothing
        box(2, [15.0, 125.0, 20.0, 20.0], image=2, score=0.9),  # in the crowd: left out
    ]
    found = confusion(*both(ground_truth, predictions), confidence=0.5)
    assert found.class_names == ("class 5", "class 2")
    assert found.counts == ((1, 0, 0), (1, 0, 1), (1, 1, 0))


def test_confusion_prefers_the_right_class_where_objects_overlap() -> None:
    ground_truth = truth(box(5, LEFT), box(2, LEFT))
    predictions = [box(2, LEFT, score=0.9), box(5, LEFT, score=0.8)]
    assert confusion(*both(ground_truth, predictions), confidence=0.0).counts == (
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 0),
    )


@settings(max_examples=40, deadline=None)
@given(coco_cases())
def test_sums_agree(case: Any) -> None:
    """Every box and detection is in the matrix once; its diagonal is the recall of the curves."""
    ground_truth, predictions = case
    analysis = analyse(ground_truth, predictions, confidence=0.3)
    counts = np.array(analysis.confusion.counts)
    assert counts[:-1].sum(axis=1).tolist() == [c.boxes for c in analysis.metrics.per_class]
    summary = {error.kind: error for error in analysis.error_summary}
    hits = int(np.trace(counts[:-1, :-1]))
    assert counts[:, :-1].sum() - hits == summary["false positives"].shown
    assert analysis.metrics.boxes - hits == summary["false negatives"].shown
    if curves := analysis.confidence_curves:
        at = curves.confidence.index(0.3)
        assert curves.recall[at] == pytest.approx(hits / analysis.metrics.boxes, abs=1e-4)
    assert analysis.metrics == evaluate_coco(ground_truth, predictions)
    assert Analysis.from_json(json.loads(json.dumps(analysis.to_json(), allow_nan=False))) == analysis
    for k, one in enumerate(analysis.classes):
        assert (one.recall_curves is None) == (analysis.metrics.per_class[k].ap is None)
        if one.recall_curves:
            mean = np.mean(one.recall_curves.mean)
            assert mean == pytest.approx(analysis.metrics.per_class[k].ap, abs=1e-4)


def test_the_mean_curve_is_ap() -> None:
    ground_truth = scenes(30, 3)
    analysis = analyse(ground_truth, detector(ground_truth, jitter=0.1))
    curves, metrics = analysis.recall_curves, analysis.metrics
    assert curves is not None
    for curve, ap in ((curves.mean, metrics.ap), (curves.iou50, metrics.ap50), (curves.iou75, metrics.ap75)):
        assert np.mean(curve) == pytest.approx(ap, abs=1e-4)
    assert list(curves.iou50) == sorted(curves.iou50, reverse=True)


def test_best_f1_is_the_best_of_all_thresholds() -> None:
    ground_truth = scenes(25, 2, seed=4)
    predictions = [p | {"score": round(p["score"], 2)} for p in detector(ground_truth, jitter=0.1, clutter=3)]
    analysis = analyse(ground_truth, predictions)
    best = analysis.confidence_curves.best
    assert analysis.confidence == best.confidence
    assert analysis.confidence_is == "best F1"
    f1 = {}
    for threshold in sorted({p["score"] for p in predictions}):
        kept = [p for p in predictions if p["score"] >= threshold]
        counts = np.array(confusion(*both(ground_truth, kept), confidence=0.0).counts)
        f1[threshold] = 2 * np.trace(counts[:-1, :-1]) / (len(kept) + len(ground_truth["annotations"]))
    assert best.f1 == pytest.approx(max(f1.values()))
    assert f1[best.confidence] == best.f1
    assert best.f1 == pytest.approx(2 * best.precision * best.recall / (best.precision + best.recall))


def test_curves_where_there_is_nothing() -> None:
    nothing = analyse(truth(), [])
    assert nothing.recall_curves is None
    assert nothing.confidence_curves is None
    assert (nothing.confidence, nothing.confidence_is) == (0.5, "default")
    silent = analyse(truth(box(5, LEFT)), [])
    assert silent.confidence_curves.best is None
    assert set(silent.confidence_curves.precision) == {None}
    assert set(silent.confidence_curves.recall) == {0.0}
    assert silent.errors[KINDS.index("missed")].shown == 1
    with pytest.raises(UsageError, match="confidence = nan"):
        analyse(truth(), [], confidence=float("nan"))


def test_calibration_by_hand() -> None:
    ground_truth = truth(box(5, LEFT), box(5, RIGHT))
    predictions = [
        box(5, LEFT, score=0.9),
        box(5, RIGHT, score=0.8),
        box(5, FAR, score=0.85),
        box(5, [150.0, 150.0, 20.0, 20.0], score=0.3),
        box(5, [150.0, 150.0, 20.0, 20.0], score=0.01),  # below the least confidence
    ]
    found = calibration(both(ground_truth, predictions)[1], bins=2)
    assert [(b.low, b.high, b.count) for b in found.bins] == [(0.0, 0.5, 1), (0.5, 1.0, 3)]
    assert found.bins[0].precision == 0
    assert found.bins[1].confidence == pytest.approx(0.85)
    assert found.bins[1].precision == pytest.approx(2 / 3)
    assert found.ece == pytest.approx((0.3 + 3 * (0.85 - 2 / 3)) / 4)
    assert found.mce == pytest.approx(0.3)
    assert found.bias == pytest.approx((0.9 + 0.8 + 0.85 + 0.3) / 4 - 0.5)
    assert found.detections == 4


def test_a_calibrated_detector_has_little_error_and_a_boastful_one_much() -> None:
    rng = np.random.default_rng(0)
    boxes, rows, boastful = [], [], []
    for image in range(2000):
        score = float(rng.uniform(0.1, 1))
        boxes.append(box(5, LEFT, image=image))
        place = LEFT if rng.random() < score else FAR
        rows.append(box(5, place, image=image, score=score))
        boastful.append(box(5, place, image=image, score=score**0.25))
    ground_truth = truth(*boxes, images=range(2000))
    assert calibration(both(ground_truth, rows)[1]).ece < 0.03
    found = calibration(both(ground_truth, boastful)[1])
    assert found.ece > 0.2
    assert found.bias > 0.2


def test_a_boundary_belongs_to_the_bin_below() -> None:
    found = calibration(
        both(truth(box(5, LEFT)), [box(5, LEFT, score=0.2), box(5, FAR, score=1.0)])[1], bins=5
    )
    assert [b.count for b in found.bins] == [1, 0, 0, 0, 1]
    assert found.bins[1].precision is None


def test_scores_that_are_no_confidences_are_not_calibrated() -> None:
    analysis = analyse(truth(box(5, LEFT)), [box(5, LEFT, score=7.5), box(5, FAR, score=-3.0)])
    assert analysis.calibration is None
    assert analysis.metrics.ap == pytest.approx(1)
    assert analysis.confidence == 7.5


def test_the_worst_image_has_most_errors() -> None:
    ground_truth = truth(box(5, LEFT), box(2, RIGHT), box(5, LEFT, image=2), images=(1, 2, 3))
    predictions = [
        box(5, LEFT, score=0.9),
        box(5, RIGHT, score=0.8),  # of class 2: an error, and its box is missed
        box(5, FAR, image=2, score=0.7),
        box(5, LEFT, image=2, score=0.6),
        box(2, FAR, image=3, score=0.1),
    ]
    analysis = analyse(ground_truth, predictions, confidence=0.5)
    first, second = analysis.worst_images
    assert (first.image_id, second.image_id) == (1, 2)
    assert {k: n for k, n in first.errors.items() if n} == {"classification": 1, "missed": 1}
    assert {k: n for k, n in second.errors.items() if n} == {"background": 1}
    assert first.file_name == "1.jpg"
    assert [(d.label, d.score, d.kind) for d in first.detections] == [
        ("class 5", 0.9, ""),
        ("class 5", 0.8, "classification"),
    ]
    assert [(b.label, b.found) for b in first.truth] == [("class 5", True), ("class 2", False)]
    assert [i.image_id for i in analyse(ground_truth, predictions, confidence=0.5, worst=1).worst_images] == [
        1
    ]


def test_worst_classes_are_those_that_cost_most() -> None:
    ground_truth = truth(box(5, LEFT), box(2, RIGHT), box(2, FAR), classes=(5, 2, 9))
    analysis = analyse(ground_truth, [box(5, LEFT, score=0.9), box(2, RIGHT, score=0.8)])
    assert [c.name for c in analysis.worst_classes] == ["class 2", "class 5"]  # class 9 has no boxes
    worst = analysis.worst_classes[0]
    assert worst.cost == pytest.approx((1 - 51 / 101) / 2)
    assert worst.errors["missed"] == 1
    assert analysis.metrics.ap50 + sum(c.cost for c in analysis.worst_classes) == pytest.approx(1)
