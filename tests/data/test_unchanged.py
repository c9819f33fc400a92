"""A dataset that changed since it was prepared is refused; images that are merely lost are not a reason."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from taco_kd.data import unchanged
from taco_kd.data.unchanged import check_unchanged
from taco_kd.errors import DataError
from taco_kd.runs import DataDir


@pytest.fixture
def copy(small_data, tmp_path):
    shutil.copytree(small_data.path, tmp_path / "data")
    return DataDir(tmp_path / "data")


def files_of(copy, split="train"):
    return [copy.image_file(split, i["file_name"]) for i in copy.coco(split)["images"]]


def test_what_was_prepared_is_accepted(copy):
    check_unchanged(copy)


def test_lost_and_damaged_images_are_left_to_the_quarantine(copy):
    lost, cut, other = files_of(copy)[:3]
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:500])
    other.write_bytes(b"")
    check_unchanged(copy)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("what", ["annotations", "image", "hashes", "gone"])
def test_a_change_is_refused_and_named(copy, split, what):
    file = copy.annotations_file(split)
    if what == "annotations":
        coco = json.loads(file.read_text())
        coco["annotations"][0]["category_id"] = coco["categories"][-1]["id"]
        coco["annotations"][0]["bbox"][0] += 0.5
        file.write_text(json.dumps(coco))
    elif what == "image":
        file = files_of(copy, split)[1]
        Image.fromarray(np.zeros((192, 192, 3), dtype=np.uint8)).save(file)
    elif what == "hashes":
        file = copy.hashes_file
        file.write_text(file.read_text().replace("0", "1"))
    else:
        file.unlink()
    with pytest.raises(DataError) as caught:
        check_unchanged(copy)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dataset_from_before_the_hashes_is_counted(copy):
    copy.hashes_file.unlink()
    check_unchanged(copy)
    coco = copy.coco("train")
    del coco["annotations"][0]
    copy.annotations_file("train").write_text(json.dumps(coco))
    with pytest.raises(DataError, match=r"train\.json: has \d+ boxes and had \d+ when"):
        check_unchanged(copy)


def test_of_a_large_dataset_images_here_and_there_are_read(copy, monkeypatch):
    whole = sum(f.stat().st_size for split in ("train", "val") for f in files_of(copy, split))
    monkeypatch.setattr(unchanged, "READ_BYTES", whole // 3)
    read = []
    monkeypatch.setattr(unchanged, "_hash", read.append)
    check_unchanged(copy)
    everything = files_of(copy) + files_of(copy, "val")
    assert read == everything[::4] or read == everything[::3]
