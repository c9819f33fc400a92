"""Synthetic scenes: determinism, honest boxes, planted oddities and crash-safe writing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from taco_kd.data.synthetic import SCENE_CLASSES, Scene, draw_scene, write_scenes
from taco_kd.data.synthetic.outline import outlines, polygon_area

SMALL = {"width": 320, "height": 240}
NAMES = {entry.name for entry in SCENE_CLASSES}


def read(root: Path, name: str = "annotations.json") -> Any:
    return json.loads((root / name).read_text(encoding="utf-8"))


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check_objects(scene: Scene) -> None:
    width, height = scene.image.size
    for item in scene.objects:
        assert item.class_name in NAMES
        points = np.array([point for part in item.polygons for point in part])
        left, top = points.min(axis=0)
        right, bottom = points.max(axis=0)
        assert item.bbox == pytest.approx((left, top, right - left, bottom - top))
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert 0 < item.area_px <= item.bbox[2] * item.bbox[3]
        assert max(item.bbox[2:]) >= 0.04 * width  # about 8 px once the scene is 192 px wide


@settings(max_examples=8, deadline=None)
@given(st.integers(min_value=0, max_value=2**64))
def test_a_scene_has_boxes_inside_it_and_tight_around_its_polygons(seed: int) -> None:
    scene = draw_scene(seed, **SMALL)
    assert scene.image.size == (320, 240)
    assert scene.image.mode == "RGB"
    assert 1 <= len(scene.objects) <= 8
    check_objects(scene)


def test_the_same_seed_draws_the_same_bytes_and_another_seed_another_scene() -> None:
    first, again, other = draw_scene(7), draw_scene(7), draw_scene(8)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.objects == again.objects
    assert first.image.tobytes() != other.image.tobytes()


def test_drawing_leaves_numpys_global_random_state_alone() -> None:
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    draw_scene(1, **SMALL)
    assert np.random.random() == expected


def test_sixty_scenes_show_every_class() -> None:
    counts = Counter(item.class_name for seed in range(60) for item in draw_scene(seed, **SMALL).objects)
    assert set(counts) == NAMES


@pytest.mark.parametrize("arguments", [{"seed": -1}, {"seed": 0, "width": 16}, {"seed": 0, "height": 3}])
def test_impossible_scenes_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        draw_scene(**arguments)


def test_an_outline_has_the_box_of_its_pixels_and_leaves_specks_out() -> None:
    mask = np.zeros((80, 120), dtype=bool)
    mask[12:36, 16:56] = True
    mask[36:60, 56:96] = True  # touches the first part at a corner only
    mask[72, 4] = True
    parts = outlines(mask, min_area_px=4)
    boxes = {(*np.min(part, axis=0).tolist(), *np.max(part, axis=0).tolist()) for part in parts}
    assert boxes == {(16.0, 12.0, 56.0, 36.0), (56.0, 36.0, 96.0, 60.0)}
    assert [polygon_area(part) for part in parts] == pytest.approx([960, 960], rel=0.05)


@pytest.mark.parametrize("checks", [(0, 1), (1, 0)])
def test_parts_that_touch_at_corners_are_outlined_one_by_one(checks: tuple[int, int]) -> None:
    mask = np.kron(np.tile([checks, checks[::-1]], (2, 2)), np.ones((8, 8))).astype(bool)
    parts = outlines(mask, min_area_px=1)
    assert len(parts) == 8
    assert all(np.ptp(part, axis=0).tolist() == [8, 8] for part in parts)


def test_an_outline_ignores_holes() -> None:
    mask = np.ones((60, 60), dtype=bool)
    mask[20:30, 20:30] = False
    (part,) = outlines(mask, min_area_px=1)
    assert polygon_area(part) == pytest.approx(3600, rel=0.05)


def test_the_layout_is_tacos(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "set", count=3, seed=5, **SMALL)
    content = read(root)
    assert [(c["id"], c["name"]) for c in content["categories"]] == list(
        enumerate(entry.name for entry in SCENE_CLASSES)
    )
    assert [image["file_name"] for image in content["images"]] == [f"batch_1/00000{i}.jpg" for i in range(3)]
    assert "count=3, seed=5" in content["info"]["description"]
    ids = [annotation["id"] for annotation in content["annotations"]]
    assert len(set(ids)) == len(ids) > 0
    for annotation in content["annotations"]:
        points = np.concatenate([np.reshape(part, (-1, 2)) for part in annotation["segmentation"]])
        corner, extent = points.min(axis=0), np.ptp(points, axis=0)
        assert annotation["bbox"] == pytest.approx([*corner, *extent], abs=0.02)
        assert annotation["image_id"] in range(3)


def test_a_larger_set_begins_with_the_smaller_one(tmp_path: Path) -> None:
    small, large = (write_scenes(tmp_path / str(n), count=n, seed=2, **SMALL) for n in (2, 4))
    other = write_scenes(tmp_path / "other", count=2, seed=3, **SMALL)
    first = {name: value for name, value in digests(small).items() if name.endswith(".jpg")}
    assert first.items() <= digests(large).items()
    assert not set(first.values()) & set(digests(other).values())
    assert read(large)["annotations"][: len(read(small)["annotations"])] == read(small)["annotations"]


def test_what_is_planted_is_what_planted_json_says(tmp_path: Path) -> None:
    root = write_scenes(tmp_path, count=6, seed=1, near_duplicates=2, exif_turned=3, **SMALL)
    content, planted = read(root), read(root, "planted.json")
    assert sorted(planted["exif"].values()) == [3, 6, 8]
    assert [twin for _, twin in planted["duplicates"]] == [6, 7]
    for image in content["images"]:
        stored = Image.open(root / image["file_name"])
        assert stored.getexif().get(0x0112, 1) == planted["exif"].get(str(image["id"]), 1)
        upright = ImageOps.exif_transpose(stored)
        assert upright.size == (image["width"], image["height"])
    for original, twin in planted["duplicates"]:
        pair = [content["images"][number] for number in (original, twin)]
        assert pair[1]["width"] == round(1.02 * pair[0]["width"])
        pixels = [
            np.asarray(ImageOps.exif_transpose(Image.open(root / entry["file_name"])).resize((64, 48)), float)
            for entry in pair
        ]
        assert 0 < np.abs(pixels[0] - pixels[1]).mean() < 20
        boxes = [
            [a["bbox"] for a in content["annotations"] if a["image_id"] == entry["id"]] for entry in pair
        ]
        ratio = np.array([pair[1]["width"] / pair[0]["width"], pair[1]["height"] / pair[0]["height"]] * 2)
        assert np.array(boxes[1]) == pytest.approx(np.array(boxes[0]) * ratio, abs=0.02)


def test_exif_turns_show_the_scene_upright(tmp_path: Path) -> None:
    plain = write_scenes(tmp_path / "plain", count=3, seed=9, **SMALL)
    turned = write_scenes(tmp_path / "turned", count=3, seed=9, exif_turned=3, **SMALL)
    for image in read(plain)["images"]:
        expected = np.asarray(Image.open(plain / image["file_name"]), float)
        shown = np.asarray(ImageOps.exif_transpose(Image.open(turned / image["file_name"])), float)
        assert np.abs(expected - shown).mean() < 4  # JPEG blocks fall differently, the picture is the same


def test_the_number_of_workers_does_not_change_a_byte(tmp_path: Path) -> None:
    planted = {"count": 4, "seed": 4, "near_duplicates": 1, "exif_turned": 1}
    one = write_scenes(tmp_path / "one", **planted, **SMALL)
    two = write_scenes(tmp_path / "two", **planted, **SMALL, workers=2)
    assert digests(one) == digests(two)


def test_an_interrupted_run_never_looks_complete_and_can_be_repeated(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 3
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path, count=3, seed=0, on_progress=stop, **SMALL)
    assert not any(tmp_path.glob("*.json*"))
    assert not any(tmp_path.glob(".*"))
    write_scenes(tmp_path, count=3, seed=0, **SMALL)
    assert len(read(tmp_path)["images"]) == 3


def test_a_finished_dataset_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text("{}")
    with pytest.raises(FileExistsError, match="choose an empty folder"):
        write_scenes(tmp_path, count=1, seed=0)
    assert (tmp_path / "annotations.json").read_text() == "{}"


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"workers": 0}, {"seed": -1}, {"near_duplicates": 2}, {"exif_turned": -1}]
)
def test_counts_that_make_no_sense_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        write_scenes(tmp_path, **{"count": 1, "seed": 0, **wrong})
