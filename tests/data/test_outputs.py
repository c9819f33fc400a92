"""What a prepared dataset holds beside its COCO files: YOLO labels, data.yaml, card, contact sheet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from taco_kd.config import PrepareConfig
from taco_kd.data.coco import read_coco
from taco_kd.data.contact_sheet import CELL_PX, choose_examples
from taco_kd.data.prepare import prepare
from taco_kd.data.recognise import recognise
from taco_kd.data.synthetic import write_scenes
from taco_kd.data.yolo import read_yolo
from taco_kd.errors import DataError
from taco_kd.runs import SPLITS, DataDir


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_scenes(tmp_path_factory.mktemp("raw") / "r", count=16, seed=4)
    document = json.loads((root / "annotations.json").read_text())
    document["licenses"] = [{"id": 3, "name": "CC BY | 4.0", "url": "https://example.org/by"}]
    for image in document["images"][:5]:
        image |= {"license": 3, "flickr_url": "https://example.org/1.jpg", "date_captured": None}
    document["annotations"][0]["iscrowd"] = 1
    (root / "annotations.json").write_text(json.dumps(document))
    return root


@pytest.fixture(scope="module", params=["stretch", "letterbox"])
def data(request: pytest.FixtureRequest, raw: Path, tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    config = PrepareConfig(root=raw, size=128, mode=request.param, train_ratio=0.6)
    return prepare(config, tmp_path_factory.mktemp("out") / "data")


def test_yolo_labels_say_what_the_coco_files_say(data: DataDir) -> None:
    again = {image.id: image for image in read_yolo(data.path).images}
    crowds = 0
    for split in SPLITS:
        coco = data.coco(split)
        index = {c["id"]: i for i, c in enumerate(coco["categories"])}
        for image in coco["images"]:
            boxes = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
            crowds += sum(a["iscrowd"] for a in boxes)
            boxes = [a for a in boxes if not a["iscrowd"]]
            found = again[image["id"]]
            assert found.part == split
            for annotation, label in zip(boxes, found.annotations, strict=True):
                assert label.category_id == index[annotation["category_id"]]
                assert label.bbox_xywh == pytest.approx(annotation["bbox"], abs=3e-4)
    assert crowds == 1


# Prints what Ultralytics reads of the data.yaml in argv[1]. In a process of its own, since importing
# Ultralytics changes Pillow: an unknown image would then start an installation of more decoders.
READ_BY_ULTRALYTICS = """
import json, sys
from ultralytics.data import YOLODataset
from ultralytics.data.utils import check_det_dataset
found = check_det_dataset(sys.argv[1], autodownload=False)
parts = {}
for split in ("train", "val"):
    data = YOLODataset(img_path=found[split], data=found, task="detect", augment=False, imgsz=128)
    parts[split] = {l["im_file"]: [l["cls"].ravel().tolist(), l["bboxes"].tolist()] for l in data.labels}
print("READ" + json.dumps([list(found["names"].values()), parts]))
"""


def test_ultralytics_reads_it_without_a_warning(data: DataDir) -> None:
    environment = {**os.environ, "YOLO_OFFLINE": "true"}
    words = [sys.executable, "-c", READ_BY_ULTRALYTICS, str(data.yaml_file)]
    # From another folder: the paths must not depend on where one stands.
    child = subprocess.run(words, capture_output=True, text=True, cwd="/", env=environment, check=False)
    assert child.returncode == 0, child.stderr
    assert "WARNING" not in child.stdout + child.stderr
    line = next(line for line in child.stdout.splitlines() if line.startswith("READ"))
    names, parts = json.loads(line.removeprefix("READ"))
    assert tuple(names) == data.class_names
    for split in SPLITS:
        (data.labels_dir(split).parent / f"{split}.cache").unlink(missing_ok=True)  # theirs
        coco = data.coco(split)
        index = {c["id"]: i for i, c in enumerate(coco["categories"])}
        read = {Path(file).name: label for file, label in parts[split].items()}
        assert set(read) == {image["file_name"] for image in coco["images"]}
        for image in coco["images"]:
            boxes = [a for a in coco["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
            classes, found = read[image["file_name"]]
            assert classes == [index[a["category_id"]] for a in boxes]
            for (x, y, w, h), box in zip((a["bbox"] for a in boxes), found, strict=True):
                expected = [(x + w / 2) / 128, (y + h / 2) / 128, w / 128, h / 128]
                assert box == pytest.approx(expected, abs=2e-6)


def test_card_says_how_much_by_whom_and_how(data: DataDir) -> None:
    card = data.card_file.read_text()
    counts = data.record()["counts"]
    assert f"| train | {counts['train']['images']} | {counts['train']['boxes']} |" in card
    assert "| CC BY \\| 4.0 | https://example.org/by | 5 |" in card
    assert "names no licence for 11 of 16 images" in card
    assert data.content_hash in card
    assert data.record()["config"]["mode"] in card
    kept = [i for split in SPLITS for i in data.coco(split)["images"] if "license" in i]
    assert len(kept) == 5
    assert all(i["flickr_url"].startswith("https") and "date_captured" not in i for i in kept)
    assert data.coco("val")["licenses"][0]["id"] == 3


def test_contact_sheet_shows_boxes_of_many_classes(data: DataDir) -> None:
    with Image.open(data.examples_file) as sheet:
        assert sheet.width > 4 * CELL_PX
        assert sheet.height > 3 * CELL_PX
    cocos = {split: data.coco(split) for split in SPLITS}
    chosen = choose_examples(cocos, count=4, seed=0)
    assert len(chosen) == 4
    seen = {a["category_id"] for example in chosen for a in example.annotations}
    every = {a["category_id"] for split in SPLITS for a in cocos[split]["annotations"]}
    assert len(seen) >= 0.7 * len(every)


def test_what_was_prepared_can_be_a_source_again(data: DataDir, tmp_path: Path) -> None:
    assert recognise(data.path) == ("coco", "annotations/train.json, annotations/val.json")
    config = PrepareConfig(root=data.path, size=64, keep_split=True)
    again = prepare(config, tmp_path / "again")
    for split in SPLITS:
        assert [i["id"] for i in again.coco(split)["images"]] == [i["id"] for i in data.coco(split)["images"]]
        halves = [[v / 2 for v in a["bbox"]] for a in data.coco(split)["annotations"]]
        assert [a["bbox"] for a in again.coco(split)["annotations"]] == [pytest.approx(h) for h in halves]


def test_letterbox_says_how_large_the_photo_is_in_it(raw: Path, tmp_path: Path) -> None:
    from taco_kd.evaluate.truth import check_ground_truth

    config = PrepareConfig(root=raw, size=128, mode="letterbox")
    coco = prepare(config, tmp_path / "out").coco("val")
    image = coco["images"][0]
    assert max(image["content_width"], image["content_height"]) == 128
    factor = check_ground_truth(coco).area_factor("original")
    photo = image["original_width"] * image["original_height"]
    assert factor[0] == pytest.approx(photo / (image["content_width"] * image["content_height"]))


def test_layouts_are_recognised(tmp_path: Path, raw: Path) -> None:
    assert recognise(raw)[0] == "taco"
    with pytest.raises(DataError, match="no layout that is known"):
        recognise(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "a.xml").write_text("<annotation/>")
    assert recognise(tmp_path) == ("voc", "1 XML files, such as a.xml")
    (tmp_path / "data.yaml").write_text("names: [a]\ntrain: x\n")
    assert recognise(tmp_path) == ("yolo", "data.yaml")
    (tmp_path / "train").mkdir()
    (tmp_path / "train/_annotations.coco.json").write_text("{}")
    assert recognise(tmp_path)[0] == "coco"


def test_coco_parts_with_equal_ids_are_told_apart(raw: Path, tmp_path: Path) -> None:
    for part in ("train", "valid"):
        (tmp_path / part).mkdir()
        document = json.loads((raw / "annotations.json").read_text())
        for image in document["images"]:
            source = raw / image["file_name"]
            image["file_name"] = source.name
            (tmp_path / part / source.name).write_bytes(source.read_bytes())
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(document))
    from taco_kd.data.coco_folder import read_coco_folder

    found = read_coco_folder(tmp_path)
    alone = read_coco(raw / "annotations.json", raw)
    assert len({image.id for image in found.images}) == 2 * len(alone.images)
    ids = [a.id for image in found.images for a in image.annotations]
    assert len(ids) == len(set(ids)) == 2 * sum(len(i.annotations) for i in alone.images)
    assert {i.part for i in found.images} == {"train", "val"}
    document["categories"].append({"id": 99, "name": "New"})
    (tmp_path / "valid/_annotations.coco.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="other categories than in"):
        read_coco_folder(tmp_path)
