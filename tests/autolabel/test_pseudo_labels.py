"""Thresholds from validation data, and a dataset of pseudo-labels that never holds a validation image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from taco_kd.autolabel.pseudo.detect import detect
from taco_kd.autolabel.pseudo.images import find_images, images_of, prepare_image
from taco_kd.autolabel.pseudo.stage import PseudoOptions, pseudo_label
from taco_kd.autolabel.pseudo.thresholds import Evidence, choose_thresholds, gather
from taco_kd.errors import DataError, UsageError
from taco_kd.runs import DataDir
from taco_kd.types import Detections


def evidence(hits: str, boxes: int = 20, scores=None) -> Evidence:
    """``1`` a hit, ``0`` a miss, from the highest score down, each in an image of its own."""
    n = len(hits)
    values = np.array(scores if scores is not None else np.linspace(0.9, 0.9 - 0.05 * (n - 1), n))
    return Evidence(values, np.array([h == "1" for h in hits]), np.arange(n), boxes)


def test_the_lowest_score_that_keeps_the_precision():
    found = evidence("1101100000")
    assert found.lowest_at(0.8, 1) == pytest.approx(0.7)  # 4 of 5
    assert found.lowest_at(0.8, 6) is None
    assert found.lowest_at(0.6, 1) == pytest.approx(0.65)  # 4 of 6
    assert found.at(0.7)[:2] == (4, 5)
    assert evidence("").lowest_at(0.5, 1) is None


def test_equal_scores_are_taken_together():
    found = evidence("1100", scores=[0.9, 0.5, 0.5, 0.5])
    assert found.lowest_at(0.9, 1) == 0.9  # three share 0.5, and only one of them is right


def test_each_class_gets_its_own_the_pooled_or_no_threshold():
    classes = {
        "sure": evidence("1" * 12 + "0000"),
        "rare": evidence("10", boxes=2),
        "bad": evidence("0" * 12),
        "never seen": evidence("", boxes=0),
    }
    pooled = evidence("1" * 16 + "0000", boxes=40, scores=np.linspace(0.95, 0.3, 20))
    together, found = choose_thresholds(classes, pooled, precision=0.8, least=10)
    assert together.detections == 20
    by_name = {t.name: t for t in found}
    assert by_name["sure"].source == "own"
    assert by_name["sure"].detections == 15  # 12 of 15 are 80 %
    assert by_name["rare"].source == "pooled"
    assert by_name["rare"].value == together.value
    assert "no 10 of its detections reach the target" in by_name["rare"].why
    assert (by_name["bad"].source, by_name["bad"].value) == ("left out", None)
    assert by_name["bad"].record()["recall"] is None
    assert by_name["never seen"].source == "pooled"
    assert by_name["never seen"].precision is None


def test_a_target_out_of_reach_says_what_can_be_reached():
    with pytest.raises(
        DataError, match=r"no threshold gives labels of which 90 % .* best is 55 %.*0\.54 or less"
    ):
        choose_thresholds({}, evidence("10" * 6), precision=0.9, least=10)
    with pytest.raises(DataError, match=r"finds 3 boxes .* at least 10"):
        choose_thresholds({}, evidence("111"), precision=0.9, least=10)


class Oracle:
    """Finds the true boxes of prepared images by their pixels; of images it does not know, one cup."""

    name = "oracle"

    def __init__(self, data: DataDir, score: float = 0.9):
        self.class_names = ("person", *data.class_names)
        self.score, self.known = score, {}
        for split in ("train", "val"):
            coco = data.coco(split)
            names = {c["id"]: c["name"] for c in coco["categories"]}
            for image in coco["images"]:
                with Image.open(data.image_file(split, image["file_name"])) as opened:
                    key = opened.convert("RGB").tobytes()
                self.known[key] = [
                    (a["bbox"], self.class_names.index(names[a["category_id"]]))
                    for a in coco["annotations"]
                    if a["image_id"] == image["id"]
                ]

    def detect(self, image: Image.Image) -> Detections:
        rows = self.known.get(
            image.tobytes(), [([20.0, 20.0, 60.0, 60.0], 1), ([100.0, 100.0, 30.0, 30.0], 0)]
        )
        if not rows:
            return Detections.empty()
        xywh = torch.tensor([b for b, _ in rows])
        corners = torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1)
        return Detections(corners, torch.full((len(rows),), self.score), torch.tensor([c for _, c in rows]))


@pytest.fixture
def photos(tmp_path) -> Path:
    root = tmp_path / "photos"
    (root / "deep").mkdir(parents=True)
    for i in range(3):
        Image.effect_noise((120, 80), 40 + 30 * i).convert("RGB").save(root / "deep" / f"{i}.png")
    return root


def test_a_dataset_is_written_with_thresholds_and_hashes(small_data, photos, tmp_path):
    ticks = []
    result = pseudo_label(
        Oracle(small_data),
        find_images(photos),
        small_data,
        tmp_path / "out",
        origin={"hash": "abc"},
        on_progress=lambda done, total, note="": ticks.append(note),
    )
    assert set(ticks) == {"validation", "reading images", "labelling"}
    data = DataDir.open(tmp_path / "out")
    record = data.record()
    assert record["kind"] == "pseudo"
    assert record["class_names"] == list(small_data.class_names)
    assert record["image_size"] == 192
    assert record["validation"]["content_hash"] == small_data.content_hash
    assert record["detector"] == {"name": "oracle", "hash": "abc"}
    coco = data.coco("train")
    assert (result.images, result.labels) == (3, 3)  # the person is no class of the dataset
    assert coco["annotations"][0]["bbox"] == [20, 20, 60, 60]
    assert coco["images"][0]["original_file_name"] == "0.png"
    assert (coco["images"][0]["original_width"], coco["images"][0]["original_height"]) == (120, 80)
    assert data.coco("val")["images"] == []
    assert all(data.image_file("train", i["file_name"]).is_file() for i in coco["images"])
    header, rows = result.table()
    assert all(len(row) == len(header) for row in rows)
    assert rows[-1][0] == "all classes"
    assert {t.source for t in result.thresholds} <= {"own", "pooled"}
    again = pseudo_label(Oracle(small_data), find_images(photos), small_data, tmp_path / "again")
    assert again.data.content_hash == data.content_hash


@pytest.mark.parametrize(("mode", "corner"), [("stretch", 250), ("letterbox", 114)])
def test_unlabelled_images_are_placed_as_the_validation_images_are(mode, corner, tmp_path):
    Image.new("RGB", (120, 60), (250, 250, 250)).save(tmp_path / "wide.png")
    prepare_image(tmp_path / "wide.png", 64, tmp_path / "out.jpg", mode)
    with Image.open(tmp_path / "out.jpg") as placed:
        assert placed.size == (64, 64)
        assert placed.getpixel((32, 32))[0] == pytest.approx(250, abs=3)
        assert placed.getpixel((1, 1))[0] == pytest.approx(corner, abs=3)


def test_validation_and_labelled_images_are_left_out_and_broken_ones_named(small_data, photos, tmp_path):
    coco = small_data.coco("val")
    inside = small_data.image_file("val", coco["images"][0]["file_name"])
    shutil.copyfile(inside, photos / "copy.jpg")
    Image.open(inside).resize((150, 90)).save(photos / "smaller.jpg", quality=80)
    first = small_data.coco("train")["images"][0]["file_name"]
    shutil.copyfile(small_data.image_file("train", first), photos / "train.jpg")
    shutil.copyfile(photos / "deep" / "0.png", photos / "twice.png")
    (photos / "broken.jpg").write_bytes(b"no image")
    result = pseudo_label(Oracle(small_data), find_images(photos), small_data, tmp_path / "out")
    assert result.left_out == {
        "in the validation split": 2,
        "labelled already (train)": 1,
        "repeated": 1,
        "unreadable": 1,
    }
    assert result.images == 3
    assert "left out: " in result.line()
    record = result.data.record()
    assert "broken.jpg" in record["unreadable"][0]
    assert len(list(result.data.images_dir("train").iterdir())) == 3


def test_nothing_but_validation_images_is_an_error_and_leaves_nothing(small_data, tmp_path):
    with pytest.raises(DataError, match=r"not one image is left to train on .*in the validation split"):
        pseudo_label(Oracle(small_data), images_of(small_data, "val"), small_data, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_detector_that_is_not_good_enough(small_data, photos, tmp_path):
    class Blind(Oracle):
        def detect(self, image):
            return Detections(torch.tensor([[0.0, 0.0, 5.0, 5.0]]), torch.tensor([0.5]), torch.tensor([1]))

    with pytest.raises(DataError, match="validation data"):
        pseudo_label(
            Blind(small_data), find_images(photos), small_data, tmp_path / "o", options=PseudoOptions(0.9, 3)
        )
    assert not (tmp_path / "o").exists()


def test_options_and_folders_are_checked(small_data, photos, tmp_path):
    for options in (PseudoOptions(0.0), PseudoOptions(min_evidence=0), PseudoOptions(nms_iou=1.5)):
        with pytest.raises(UsageError, match="above 0 and up to 1"):
            pseudo_label(Oracle(small_data), [], small_data, tmp_path / "o", options=options)
    with pytest.raises(UsageError, match="not empty"):
        pseudo_label(Oracle(small_data), [], small_data, photos)
    with pytest.raises(DataError, match="no such folder"):
        find_images(tmp_path / "none")
    (tmp_path / "empty" / ".hidden").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "empty" / ".hidden" / "a.png")
    with pytest.raises(DataError, match="no image in it"):
        find_images(tmp_path / "empty")


def test_one_object_keeps_one_label(tmp_path):
    class Twice:
        name, class_names = "twice", ("cup", "can")

        def detect(self, image):
            boxes = torch.tensor([[10.0, 10, 50, 50], [11, 10, 50, 50], [-5, 0, 8, 8]])
            return Detections(boxes, torch.tensor([0.6, 0.8, 0.3]), torch.tensor([0, 1, 1]))

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    rows = detect(Twice(), tmp_path / "a.png", [1, 2], nms_iou=0.7)
    assert [(r["category_id"], r["bbox"]) for r in rows] == [(2, [11, 10, 39, 40]), (2, [0, 0, 8, 8])]
    assert len(detect(Twice(), tmp_path / "a.png", [1, 2], nms_iou=1.0)) == 3
    assert [r["category_id"] for r in detect(Twice(), tmp_path / "a.png", [1, None], nms_iou=1.0)] == [1]


def test_evidence_is_gathered_by_cocos_matching():
    truth = {
        "images": [{"id": 1, "width": 100, "height": 100}],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "can"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "iscrowd": 0}],
    }
    results = [
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 9], "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.8},
        {"image_id": 1, "category_id": 2, "bbox": [0, 0, 10, 10], "score": 0.85},
    ]
    by_class, pooled = gather(truth, json.loads(json.dumps(results)))
    assert by_class["cup"].hits.tolist() == [True, False]  # a second box of one object is wrong
    assert (by_class["cup"].boxes, by_class["can"].boxes, pooled.boxes) == (1, 0, 1)
    assert pooled.scores.tolist() == [0.9, 0.85, 0.8]
    assert pooled.hits.tolist() == [True, False, False]
