"""Folds: a partition that keeps groups together, and datasets like any other."""

import os
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.prepare import summary_line
from taco_kd.errors import DataError
from taco_kd.files import read_json, write_json
from taco_kd.runs import SPLITS, DataDir
from taco_kd.study import fold_data as module
from taco_kd.study.config import FoldsConfig
from taco_kd.study.fold_data import make_folds
from taco_kd.study.folds import assign, groups_of, pooled

group_lists = st.lists(st.integers(1, 4), min_size=5, max_size=30)


@settings(max_examples=50, deadline=None)
@given(sizes=group_lists, count=st.integers(2, 5), seed=st.integers(0, 5))
def test_folds_are_a_partition_that_keeps_groups_whole(sizes, count, seed):
    ids = iter(range(100))
    groups = [[next(ids) for _ in range(size)] for size in sizes]
    parts = assign(groups, count=count, seed=seed)
    assert sorted(i for part in parts for i in part) == list(range(sum(sizes)))
    for group in groups:
        assert sum(bool(set(group) & set(part)) for part in parts) == 1
    assert max(map(len, parts)) - min(map(len, parts)) <= max(sizes)
    assert all(parts)
    assert parts == assign(groups, count=count, seed=seed)


def test_another_seed_gives_other_folds():
    single = [[i] for i in range(30)]
    assert assign(single, count=3, seed=0) != assign(single, count=3, seed=1)
    with pytest.raises(DataError, match="2 groups of images cannot be cut into 3 folds"):
        assign([[1], [2]], count=3, seed=0)


@given(st.lists(st.sampled_from(["p", "q", None]), min_size=1, max_size=12), st.randoms())
def test_groups_join_scenes_and_near_duplicates(scenes, random):
    images = [{"id": i, "scene": scene} if scene else {"id": i} for i, scene in enumerate(scenes)]
    pairs = [(0, len(images) - 1), (0, 999)]
    random.shuffle(images)
    groups = groups_of(images, pairs)
    assert sorted(i for group in groups for i in group) == list(range(len(scenes)))
    home = {i: number for number, group in enumerate(groups) for i in group}
    assert home[0] == home[len(scenes) - 1]
    for scene in ("p", "q"):
        assert len({home[i] for i, name in enumerate(scenes) if name == scene}) <= 1


@pytest.fixture(scope="module")
def three(small_data, tmp_path_factory):
    return make_folds(small_data, tmp_path_factory.mktemp("folds"), FoldsConfig(count=3, seed=4))


def test_every_fold_is_a_dataset_and_every_image_is_held_out_once(small_data, three):
    whole = pooled(small_data)
    everything = {image["id"] for image in whole["images"]}
    held_out = Counter(image["id"] for fold in three for image in fold.coco("val")["images"])
    assert held_out == dict.fromkeys(everything, 1)
    boxes = len(whole["annotations"])
    for fold in three:
        opened = DataDir.open(fold.path)
        ids = {split: {image["id"] for image in opened.coco(split)["images"]} for split in SPLITS}
        assert ids["train"] | ids["val"] == everything
        assert not ids["train"] & ids["val"]
        counts = opened.record()["counts"]
        assert counts["train"]["boxes"] + counts["val"]["boxes"] == boxes
        assert opened.class_names == small_data.class_names
        assert "train" in summary_line(opened)
        for split in SPLITS:
            dataset = DetectionDataset(opened, split, 64)
            assert len(dataset) == counts[split]["images"]
            assert dataset.image(0).shape == (3, 64, 64)
    assert len({fold.content_hash for fold in three} | {small_data.content_hash}) == 4
    assert sum(fold.record()["counts"]["val"]["boxes"] for fold in three) == boxes


def test_a_fold_says_where_it_came_from_and_shares_the_images(small_data, three):
    origin = three[1].record()["fold"]
    assert origin["source"] == {"path": str(small_data.path), "content_hash": small_data.content_hash}
    assert (origin["index"], origin["count"], origin["seed"]) == (1, 3, 4)
    assert three[1].record()["settings_hash"] != small_data.record()["settings_hash"]
    image = three[1].coco("val")["images"][0]
    assert "split" not in image
    assert three[1].image_file("val", image["file_name"]).stat().st_nlink >= 2


def test_folds_are_made_once_and_again_when_the_data_changes(small_data, three, tmp_path):
    before = [fold.record_file.stat().st_mtime_ns for fold in three]
    again = make_folds(small_data, three[0].path.parent, FoldsConfig(count=3, seed=4))
    assert [fold.record_file.stat().st_mtime_ns for fold in again] == before
    other = make_folds(small_data, tmp_path, FoldsConfig(count=3, seed=4))
    assert [fold.content_hash for fold in other] == [fold.content_hash for fold in three]
    record = other[0].record()
    record["fold"]["source"]["content_hash"] = "of other data"
    write_json(other[0].record_file, record)
    make_folds(small_data, tmp_path, FoldsConfig(count=3, seed=4))
    assert other[0].record()["fold"]["source"]["content_hash"] == small_data.content_hash


def test_images_are_copied_where_links_are_impossible(small_data, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    fold = make_folds(small_data, tmp_path, FoldsConfig(count=2))[0]
    image = fold.coco("val")["images"][0]["file_name"]
    file = fold.image_file("val", image)
    assert file.stat().st_nlink == 1
    assert file.read_bytes() in {
        path.read_bytes() for path in small_data.path.glob("images/*/*.jpg") if path.name == image
    }


@pytest.fixture
def broken(small_data, tmp_path):
    """A copy of the small dataset's annotations, for spoiling."""
    data = DataDir(tmp_path / "copy")
    write_json(data.record_file, small_data.record())
    for split in SPLITS:
        write_json(data.annotations_file(split), small_data.coco(split))
    return data


def test_data_that_cannot_be_pooled(broken, tmp_path):
    with pytest.raises(DataError, match=r"\.jpg: no such image, although the annotations list it"):
        make_folds(broken, tmp_path / "out", FoldsConfig(count=2))
    assert not (tmp_path / "out").exists()
    coco = broken.coco("val")
    write_json(broken.annotations_file("val"), {**coco, "categories": coco["categories"][1:]})
    with pytest.raises(DataError, match="train and val list other categories"):
        pooled(broken)
    coco["images"][0]["id"] = broken.coco("train")["images"][0]["id"]
    write_json(broken.annotations_file("val"), coco)
    with pytest.raises(DataError, match=r"two images have the id \d+: train and val cannot be pooled"):
        pooled(broken)


def test_pooled_annotations_have_ids_of_their_own(small_data):
    ids = [annotation["id"] for annotation in pooled(small_data)["annotations"]]
    assert len(set(ids)) == len(ids)


def test_pairs_of_kept_duplicates_are_read(small_data, tmp_path):
    assert module._duplicate_pairs(DataDir(tmp_path)) == []
    found = module._duplicate_pairs(small_data)
    assert len(found) == len(read_json(small_data.duplicates_file)["pairs"]) == 1
