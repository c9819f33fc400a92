"""COCO metrics equal pycocotools; bad input gets one clear line."""

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from coco_cases import SIDE, coco_cases, dataset, detector, oracle, scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.errors import DataError
from taco_kd.evaluate.coco_metrics import Metrics, evaluate_coco

SUMMARY = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
SUMMARY += ("ar_small", "ar_medium", "ar_large")


def summary(metrics: Metrics) -> list[Any]:
    return [getattr(metrics, name) for name in SUMMARY]


def box(
    image: int = 1, category: int = 0, bbox: Any = (10.0, 10.0, 50.0, 50.0), **more: Any
) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(bbox), **more}


@settings(max_examples=60, deadline=None)
@given(coco_cases())
def test_equal_to_pycocotools(case: Any) -> None:
    ground_truth, predictions = case
    before = copy.deepcopy(case)
    metrics = evaluate_coco(ground_truth, predictions)
    stats, per_class = oracle(ground_truth, predictions)
    assert summary(metrics) == stats  # to the last bit
    assert [c.ap for c in metrics.per_class] == [per_class[c["id"]] for c in ground_truth["categories"]]
    assert [c.name for c in metrics.per_class] == [c["name"] for c in ground_truth["categories"]]
    assert case == before, "the arguments must not be changed"


@settings(max_examples=40, deadline=None)
@given(coco_cases(), st.data())
def test_equal_to_pycocotools_in_areas_of_the_original_photos(case: Any, data: st.DataObject) -> None:
    ground_truth, predictions = case
    sides = st.sampled_from([SIDE // 4, SIDE, 3 * SIDE, 17 * SIDE])
    sizes = {i["id"]: (data.draw(sides), data.draw(sides)) for i in ground_truth["images"]}
    ground_truth["images"] = [
        image | {"original_width": sizes[image["id"]][0], "original_height": sizes[image["id"]][1]}
        for image in ground_truth["images"]
    ]
    metrics = evaluate_coco(ground_truth, predictions, areas="original")
    factor = {image: width * height / SIDE**2 for image, (width, height) in sizes.items()}
    stats, _ = oracle(ground_truth, predictions, area_factor=factor)
    assert summary(metrics) == stats
    assert metrics.area_space == "pixels of the original photos"
    # Only which boxes are small, medium or large has changed.
    as_resized = evaluate_coco(ground_truth, predictions)
    assert (metrics.ap, metrics.ap50, metrics.ar1) == (as_resized.ap, as_resized.ap50, as_resized.ar1)


def test_areas_of_the_original_photos_need_their_sizes() -> None:
    with pytest.raises(
        DataError, match=r"image 0 has no original_width and original_height.*--areas resized"
    ):
        evaluate_coco(scenes(2), [], areas="original")


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_pycocotools_on_crowded_scenes_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ground_truth = scenes(60, 4, seed=seed)
    for annotation in ground_truth["annotations"]:
        annotation["iscrowd"] = int(rng.random() < 0.1)
        annotation["image_id"] %= 20  # some twenty overlapping boxes on some images, none on others
    predictions = [
        p | {"image_id": p["image_id"] % 20, "score": round(p["score"], 1)}
        for s in range(4)
        for p in detector(ground_truth, jitter=0.15, clutter=20, seed=seed + s)
    ]
    stats, per_class = oracle(ground_truth, predictions)
    metrics = evaluate_coco(ground_truth, predictions)
    assert summary(metrics) == stats
    assert [c.ap for c in metrics.per_class] == list(per_class.values())
    assert 0.05 < metrics.ap < 0.9


def test_class_without_boxes_is_undefined_and_not_zero() -> None:
    ground_truth = dataset([1], [0, 5], [box(id=0, iscrowd=0)])
    metrics = evaluate_coco(ground_truth, [box(score=0.9), box(category=5, score=0.9)])
    assert [(c.ap, c.boxes) for c in metrics.per_class] == [(pytest.approx(1), 1), (None, 0)]
    assert [(c.ap50, c.recall) for c in metrics.per_class] == [(pytest.approx(1), 1.0), (None, None)]
    assert metrics.ap == pytest.approx(1)
    assert metrics.ap_small is None


def test_no_predictions_is_zero() -> None:
    metrics = evaluate_coco(dataset([1, 2], [0], [box(id=3)]), [])
    assert (metrics.ap, metrics.ar100, metrics.images, metrics.boxes) == (0.0, 0.0, 2, 1)


def test_no_boxes_is_undefined() -> None:
    metrics = evaluate_coco(dataset([1], [0], []), [box(score=0.5)])
    assert summary(metrics) == [None] * 12
    assert metrics.ap_frequent is None


def test_a_crowd_is_neither_hit_nor_miss() -> None:
    ground_truth = dataset([1], [0], [box(id=1), box(id=2, bbox=(80, 80, 100, 100), iscrowd=1)])
    inside_the_crowd = box(bbox=(90, 90, 20, 20), score=0.95)
    metrics = evaluate_coco(ground_truth, [inside_the_crowd, box(score=0.5)])
    assert (metrics.ap, metrics.boxes) == (pytest.approx(1), 1)


def test_only_the_best_hundred_detections_of_an_image_count() -> None:
    ground_truth = dataset([1], [0], [box(id=1)])
    errors = [box(bbox=(150, 150, 9, 9), score=0.9 - i / 1000) for i in range(100)]
    assert evaluate_coco(ground_truth, [*errors, box(score=0.1)]).ap == 0.0
    assert evaluate_coco(ground_truth, [*errors[:99], box(score=0.1)]).ap == pytest.approx(0.01)


def test_frequent_classes_have_ten_boxes() -> None:
    ground_truth = scenes(40, 3)
    kept, seen = [], {0: 0, 1: 0, 2: 0}
    for annotation in ground_truth["annotations"]:
        seen[annotation["category_id"]] += 1
        if annotation["category_id"] != 2 or seen[2] <= 9:
            kept.append(annotation)
    metrics = evaluate_coco(ground_truth | {"annotations": kept}, detector(ground_truth, jitter=0.1))
    assert [c.boxes >= 10 for c in metrics.per_class] == [True, True, False]
    first, second, third = (c.ap for c in metrics.per_class)
    assert metrics.ap_frequent == pytest.approx((first + second) / 2)
    assert metrics.ap == pytest.approx((first + second + third) / 3)


def test_area_space_names_the_image_size() -> None:
    ground_truth = scenes(3)
    assert evaluate_coco(ground_truth, []).area_space == "200x200 pixels of the prepared image"
    ground_truth["images"][0]["width"] = 100
    assert evaluate_coco(ground_truth, []).area_space == "pixels of the prepared images"


def test_prints_nothing(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    evaluate_coco(scenes(3), detector(scenes(3), jitter=0.1))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_json_and_back() -> None:
    ground_truth = scenes(8)
    metrics = evaluate_coco(ground_truth, detector(ground_truth, jitter=0.1))
    assert Metrics.from_json(json.loads(json.dumps(metrics.to_json(), allow_nan=False))) == metrics


def test_json_with_a_missing_key_is_refused() -> None:
    value = evaluate_coco(scenes(3), []).to_json()
    del value["ap50"]
    with pytest.raises(DataError, match=r"^m\.json: ap50 is missing$"):
        Metrics.from_json(value, where="m.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": math.nan}, "predictions of a: 1.score = nan"),
        ({"score": math.inf}, "predictions of a: 1.score = inf"),
        ({"score": "0.5"}, "predictions of a: 1.score = '0.5'"),
        ({"score": None}, "predictions of a: 1.score = None"),
        ({"image_id": 77}, "predictions of a: 1: image_id = 77: the ground truth has no such image"),
        ({"image_id": "1"}, "predictions of a: 1.image_id = '1'"),
        (
            {"category_id": 3},
            "predictions of a: 1: category_id = 3: the ground truth has 2 categories, 0 to 5",
        ),
        ({"bbox": [1.0, 2.0, 3.0]}, "predictions of a: 1.bbox.3 is missing"),
        ({"bbox": [1.0, 2.0, 3.0, 4.0, 5.0]}, "predictions of a: 1.bbox"),
        ({"bbox": [1.0, 2.0, -3.0, 4.0]}, "predictions of a: 1.bbox.2 = -3.0"),
        ({"bbox": [1.0, math.nan, 3.0, 4.0]}, "predictions of a: 1.bbox.1 = nan"),
        ({"bbox": [900.0, 900.0, 30.0, 40.0]}, "entirely outside image 1 (200x200); boxes must be"),
    ],
)
def test_bad_predictions(change: dict[str, Any], message: str) -> None:
    ground_truth = dataset([1], [0, 5], [box(id=1)])
    predictions = [box(score=0.5), box(score=0.5) | change]
    with pytest.raises(DataError) as caught:
        evaluate_coco(ground_truth, predictions, where="predictions of a")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ground_truth", "message"),
    [
        (dataset([1, 1], [0], []), "image id 1 occurs twice"),
        (dataset([1], [4, 4], []), "category id 4 occurs twice"),
        (dataset([1], [0], [box(id=9), box(id=9)]), "annotation id 9 occurs twice"),
        (dataset([1], [0], [box(id=9, image=2)]), "annotations.0: image_id = 2"),
        (dataset([1], [0], [box(id=9, category=2)]), "annotations.0: category_id = 2"),
        (dataset([1], [0], [box(id=9, bbox=(1, 1, 0, 5))]), "annotations.0: bbox = [1.0, 1.0, 0.0, 5.0]"),
        (dataset([], [0], []), "ground truth: images = []"),
        (
            {"images": [{"id": 1}], "categories": [{"id": 0, "name": "a"}]},
            "ground truth: annotations is missing",
        ),
    ],
)
def test_bad_ground_truth(ground_truth: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        evaluate_coco(ground_truth, [])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
