"""The naive labels: the folder's class on every box, and COCO that readers accept."""

from __future__ import annotations

import contextlib
import io
import json

import pytest
import torch
from pycocotools.coco import COCO

from taco_kd.autolabel.folders import Photo
from taco_kd.autolabel.naive import label_photo, to_coco
from taco_kd.types import Detections


def detections(*boxes: tuple[float, float, float, float], class_id: int = 0) -> Detections:
    n = len(boxes)
    return Detections(torch.tensor(boxes), torch.full((n,), 0.5), torch.full((n,), class_id))


def test_every_box_carries_the_folders_class_and_keeps_what_was_seen():
    found = Detections(
        torch.tensor([[1.0, 2, 11, 22], [5, 5, 30, 30]]), torch.tensor([0.9, 0.3]), torch.tensor([1, 0])
    )
    labelled = label_photo(Photo("paper/a.jpg", "paper"), (80, 60), found, ("person", "bottle"))
    assert [box.label for box in labelled.boxes] == ["paper", "paper"]
    assert [box.detector_class for box in labelled.boxes] == ["bottle", "person"]
    assert [box.score for box in labelled.boxes] == pytest.approx([0.9, 0.3])


def test_boxes_are_clipped_to_the_photo_and_those_outside_dropped():
    found = detections((-5, -5, 100, 30), (90, 10, 120, 20), (10, 10, 10, 20))
    labelled = label_photo(Photo("paper/a.jpg", "paper"), (80, 60), found, ("person",))
    assert [box.box_xyxy for box in labelled.boxes] == [(0, 0, 80, 30)]


def test_coco_has_one_category_a_folder_and_boxes_as_x_y_w_h(tmp_path):
    photos = [
        label_photo(Photo("glass/a.jpg", "glass"), (80, 60), Detections.empty(), ("person",)),
        label_photo(Photo("paper/b.jpg", "paper"), (80, 60), detections((1, 2, 11, 22)), ("person",)),
    ]
    coco = to_coco(photos, ("glass", "metal", "paper"), description="fake")
    assert [c["name"] for c in coco["categories"]] == ["glass", "metal", "paper"]
    assert [i["file_name"] for i in coco["images"]] == ["glass/a.jpg", "paper/b.jpg"]
    (annotation,) = coco["annotations"]
    assert (annotation["image_id"], annotation["category_id"]) == (2, 3)
    assert annotation["bbox"] == [1, 2, 10, 20]
    assert annotation["area"] == 200
    assert annotation["detector_class"] == "person"

    file = tmp_path / "naive.json"
    file.write_text(json.dumps(coco))
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(str(file))
    assert read.loadCats(read.loadAnns(read.getAnnIds(imgIds=[2]))[0]["category_id"])[0]["name"] == "paper"
