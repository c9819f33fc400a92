"""What train and val share, counted on drawn photographs."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from taco_kd.data.dedup import Fingerprint
from taco_kd.data.leakage import Leakage, leakage
from taco_kd.data.look_alikes import correlation, look_alikes


def photograph(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)


def next_shot(image: Image.Image) -> Image.Image:
    """The same place a moment later: an object more."""
    shot = image.copy()
    ImageDraw.Draw(shot).rectangle((100, 100, 140, 130), fill="white")
    return shot


def print_of(image_id: int, image: Image.Image) -> Fingerprint:
    thumbnail = np.asarray(image.resize((32, 32), Image.Resampling.BOX))
    return Fingerprint(image_id, str(image_id), imagehash.phash(image).hash.ravel(), thumbnail, 1, 1)


def test_nothing_is_shared_by_different_photographs() -> None:
    prints = [print_of(k, photograph(k)) for k in range(20)]
    found = leakage({"train": range(12), "val": range(12, 20)}, prints)
    assert (found.near_duplicates, found.alike_pairs, found.scenes, found.scene_val_images) == (0, 0, 0, 0)
    assert (
        found.line() == "Train/val border: 0 near-duplicate pairs, 0 scenes on both sides (0 of 8 val images)"
    )


def test_duplicates_and_scenes_across_the_border_are_told_apart() -> None:
    prints = [print_of(k, photograph(k)) for k in range(10)]
    prints.append(print_of(10, ImageEnhance.Brightness(photograph(0)).enhance(1.05)))  # a copy in val
    prints.append(print_of(11, next_shot(photograph(1))))  # the next shot in val
    prints.append(print_of(12, next_shot(photograph(2))))  # the next shot on the same side
    found = leakage({"train": [*range(8), 12], "val": [8, 9, 10, 11]}, prints)
    assert [(p.train_id, p.val_id, p.near_duplicate) for p in found.pairs] == [(0, 10, True), (1, 11, False)]
    assert (found.near_duplicates, found.near_duplicate_val_images) == (1, 1)
    assert (found.scenes, found.scene_val_images, found.val_images) == (2, 2, 4)
    assert Leakage.from_json(found.to_json()) == found


def test_scenes_that_the_data_names_are_joined_with_those_that_are_seen() -> None:
    prints = [print_of(k, photograph(k)) for k in range(6)]
    named = {0: "beach", 4: "beach", 1: "wood", 2: "wood"}
    found = leakage({"train": [0, 1, 2, 3], "val": [4, 5]}, prints, scene_of=named)
    assert (found.scenes, found.scene_val_images, found.named_scenes) == (1, 1, True)
    assert found.pairs == ()


def test_images_of_no_split_and_empty_splits_are_no_trouble() -> None:
    prints = [print_of(k, photograph(0)) for k in range(3)]
    found = leakage({"train": [0], "val": []}, prints)
    assert (found.alike_pairs, found.val_images) == (0, 0)


def test_shots_taken_in_a_row_are_one_scene_however_they_look() -> None:
    prints = [print_of(k, photograph(k)) for k in range(6)]
    split = {"train": [0, 1, 2], "val": [3, 4]}
    found = leakage(split, prints, shots_in_a_row=[(0, 3), (1, 2), (5, 4)])  # 5 is in no split
    assert (found.scenes, found.scene_val_images, found.alike_pairs) == (1, 1, 0)


def test_of_very_many_images_only_the_nearest_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    base = print_of(0, photograph(0))
    far = Fingerprint(1, "1", base.phash ^ (np.arange(64) < 10), base.thumbnail, 1, 1)
    assert len(look_alikes([base, far])) == 1
    monkeypatch.setattr("taco_kd.data.look_alikes.MANY_IMAGES", 1)
    assert look_alikes([base, far]) == []
    flat = np.zeros((32, 32, 3), dtype=np.uint8)
    assert correlation(flat, base.thumbnail) == 0
    assert correlation(base.thumbnail, base.thumbnail) == pytest.approx(1)
