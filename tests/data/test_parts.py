"""Which images are val: by groups, folds, lists of ids; and which duplicate stays."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from taco_kd.config import PrepareConfig
from taco_kd.data.capture import read_shot, shots_of
from taco_kd.data.dedup import DuplicatePair, Duplicates, Fingerprint
from taco_kd.data.groups import BURST, Shot, batch_pairs, hash_pairs, joined, scene_pairs, time_pairs
from taco_kd.data.named_ids import SPLITS, named_ids, named_lines
from taco_kd.data.parts import choose_parts
from taco_kd.data.preference import preferring
from taco_kd.data.records import Annotation, ImageRecord
from taco_kd.errors import DataError, UsageError

RNG = np.random.default_rng(0)


def record(number: int, name: str = "", label: int = 0) -> ImageRecord:
    annotation = Annotation(number, label, (0, 0, 5, 5), (), 25, 0)
    return ImageRecord(number, name or f"batch_{number % 4}/{number}.jpg", Path("x"), 10, 10, (annotation,))


def fingerprint(number: int, flipped_bits: int = 0, base: int = 0, blur: float = 0.0) -> Fingerprint:
    rng = np.random.default_rng(base)
    phash = rng.integers(0, 2, 64).astype(bool)
    phash[:flipped_bits] ^= True
    thumbnail = rng.integers(0, 256, (32, 32, 3)).astype(float)
    thumbnail = (1 - blur) * thumbnail + blur * RNG.integers(0, 256, (32, 32, 3))
    return Fingerprint(number, f"sha{number}", phash, thumbnail.astype(np.uint8), 100, 1)


def parts_of(images: list[ImageRecord], prints: list[Fingerprint] | None = None, **settings: Any) -> Any:
    prints = prints or [fingerprint(i.id, base=i.id) for i in images]
    return choose_parts(PrepareConfig(**settings), {i.id: i for i in images}, prints, settings.get("val", ()))


def test_folders_stay_together() -> None:
    images = [record(k) for k in range(40)]
    found = parts_of(images, group_by="batch", train_ratio=0.5)
    for batch in range(4):
        sides = {split for split, ids in found.ids.items() for i in ids if i % 4 == batch}
        assert len(sides) == 1
    assert len(set(found.group_of.values())) == 4
    with pytest.raises(DataError, match="--group-by batch puts all 3 images together"):
        parts_of([record(k, f"one/{k}.jpg") for k in range(3)], group_by="batch")


def test_folds_cover_everything_once() -> None:
    images = [record(k, label=k % 5) for k in range(43)]
    for settings in ({}, {"stratify": True}, {"group_by": "batch"}):
        kfold = 4 if settings.get("group_by") else 5
        folds = [parts_of(images, kfold=kfold, fold=f, seed=1, **settings) for f in range(kfold)]
        assert sorted(i for fold in folds for i in fold.ids["val"]) == list(range(43))
        for fold in folds:
            assert sorted(fold.ids["train"] + fold.ids["val"]) == list(range(43))
    with pytest.raises(DataError, match="--kfold 9: there are only 4"):
        parts_of(images, kfold=9, group_by="batch")


def test_series_of_one_camera_are_joined() -> None:
    noon = datetime(2019, 6, 1, 12)
    seconds = {1: 0, 2: 30, 3: 90, 4: 90 + BURST.seconds + 1, 5: 95}
    shots = {i: Shot("B" if i == 5 else "A", noon + timedelta(seconds=s)) for i, s in seconds.items()}
    assert joined(shots, time_pairs(shots)) == [[1, 2, 3], [4], [5]]


def test_batches_are_folders() -> None:
    images = [record(1, "a/1.jpg"), record(2, "a/b/2.jpg"), record(3, "a/3.jpg"), record(4, "4.jpg")]
    assert joined([1, 2, 3, 4], batch_pairs(images)) == [[1, 3], [2], [4]]


def test_look_alikes_by_hash_and_scenes_by_hash_and_look() -> None:
    prints = [
        fingerprint(1),
        fingerprint(2, flipped_bits=3),
        fingerprint(3, flipped_bits=12, blur=0.2),
        fingerprint(4, flipped_bits=12, blur=0.9),  # the same hash, another look
        fingerprint(5, base=7),
    ]
    ids = [p.image_id for p in prints]
    assert joined(ids, hash_pairs(prints, bits=4)) == [[1, 2], [3, 4], [5]]
    assert joined(ids, scene_pairs(prints)) == [[1, 2, 3], [4], [5]]


def test_scenes_also_join_series_and_say_what_has_no_time(tmp_path: Path) -> None:
    images = []
    for k, minute in enumerate([0, 0, 30]):
        path = tmp_path / f"{k}.jpg"
        exif = Image.Exif()
        exif[ExifTags.Base.Model] = "X1\0"
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"2019:06:01 12:{minute:02d}:1{k}"
        Image.new("RGB", (8, 8)).save(path, exif=exif)
        images.append(ImageRecord(k, path.name, path, 8, 8, ()))
    Image.new("RGB", (8, 8)).save(tmp_path / "9.jpg")
    images.append(ImageRecord(9, "9.jpg", tmp_path / "9.jpg", 8, 8, ()))
    assert read_shot(tmp_path / "0.jpg") == Shot("X1", datetime(2019, 6, 1, 12, 0, 10))
    assert set(shots_of(images)) == {0, 1, 2}
    found = parts_of(images, group_by="scene", train_ratio=0.5)
    assert found.group_of[0] == found.group_of[1] != found.group_of[2]
    assert [f.kind for f in found.findings] == ["no_capture_time"]
    assert "1 of 4 images" in found.findings[0].line
    dated = ImageRecord(5, "a", tmp_path / "9.jpg", 8, 8, (), facts={"date_captured": "2019-06-01 12:00:12"})
    assert shots_of([dated])[5] == Shot("", datetime(2019, 6, 1, 12, 0, 12))


@pytest.mark.parametrize("value", ["", "0000:00:00 00:00:00", "yesterday", "2019-06-01"])
def test_times_without_sense_are_no_times(tmp_path: Path, value: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = value
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert read_shot(tmp_path / "a.jpg") is None
    assert read_shot(tmp_path / "absent.jpg") is None


def test_the_papers_split_is_a_list_of_225_ids() -> None:
    (name,) = SPLITS
    ids = named_lines(name)
    assert len(ids) == len(set(ids)) == 225
    assert ids[:4] == ("2", "6", "11", "14")
    found = named_ids(name, [record(k) for k in range(1500)])
    assert found == {int(i) for i in ids}
    with pytest.raises(DataError, match=r"taco-paper-225: \d+ of its 225 images are not in the dataset"):
        named_ids(name, [record(k) for k in range(100)])


def test_ids_may_be_paths_numbers_names_or_stems(tmp_path: Path) -> None:
    images = [record(1, "a/x.jpg"), record(2, "b/x.jpg"), record(3, "b/y.jpg"), record(4, "b/1.jpg")]
    file = tmp_path / "ids.txt"
    file.write_text("# mine\nb/x.jpg  # a path\n1\ny\n")
    assert named_ids(str(file), images) == {1, 2, 3}
    file.write_text("x.jpg\n")
    with pytest.raises(DataError, match=r"'x\.jpg' names 2 images; write the path"):
        named_ids(str(file), images)
    file.write_text("# nothing\n")
    with pytest.raises(DataError, match="names no image"):
        named_ids(str(file), images)
    file.write_bytes(b"\xff\xfe1\0")
    with pytest.raises(DataError, match="not UTF-8 text"):
        named_ids(str(file), images)
    with pytest.raises(
        UsageError, match="unknown split 'taco-paper': choose one of taco-paper-225, or a text"
    ):
        named_ids("taco-paper", images)


def pair(a: int, b: int, kept: int) -> DuplicatePair:
    return DuplicatePair((a, b), 0, 0.0, False, kept)


def test_duplicate_that_must_be_val_is_the_one_that_stays() -> None:
    found = Duplicates(
        (pair(1, 9, 9), pair(1, 4, 9), pair(2, 3, 2), pair(5, 6, 6)), frozenset({1, 4, 3, 5}), 0
    )
    assert preferring(found, ()) == found
    changed = preferring(found, {1, 4, 2, 5})
    assert changed.removed_ids == {9, 4, 3, 6}
    assert [p.kept_id for p in changed.pairs] == [1, 1, 2, 5]


def test_fixed_val_decides_alone() -> None:
    images = {k: record(k) for k in range(10)}
    prints = [fingerprint(k, base=k) for k in range(10)]
    config = PrepareConfig(ids="taco-paper-225")
    found = choose_parts(config, images, prints, {3, 7, 99})
    assert found.ids == {"train": [0, 1, 2, 4, 5, 6, 8, 9], "val": [3, 7]}
    assert [f.kind for f in found.findings] == ["duplicates_in_val"]  # 99 is gone
    everything = choose_parts(config, images, prints, set(range(10)))
    assert everything.ids["train"] == []
    assert [f.kind for f in everything.findings] == ["empty_train"]
    with pytest.raises(DataError, match="not one image of val is left"):
        choose_parts(config, images, prints, {99})
