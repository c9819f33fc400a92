"""Turned labels: found on drawn scenes and on real photographs, and nothing where the labels are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from taco_kd.data.coco import read_coco
from taco_kd.data.label_turns import label_turn, turned
from taco_kd.data.records import Annotation


def scene(seed: int, size: tuple[int, int] = (400, 300)) -> tuple[Image.Image, tuple[Annotation, ...]]:
    """A noisy ground with three bright shapes, and their outlines."""
    rng = np.random.default_rng(seed)
    width, height = size
    noise = rng.integers(60, 140, (height // 4, width // 4, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    draw, annotations = ImageDraw.Draw(image), []
    for number in range(3):
        x, y = rng.uniform(0.1, 0.6) * width, rng.uniform(0.1, 0.6) * height
        w, h = rng.uniform(30, 90), rng.uniform(30, 90)
        corners = [(x, y), (x + w, y + h / 4), (x + w * 0.8, y + h), (x + w * 0.1, y + h * 0.8)]
        draw.polygon(corners, fill=tuple(int(v) for v in rng.integers(180, 256, 3)))
        flat = tuple(v for corner in corners for v in corner)
        annotations.append(Annotation(number, 0, (x, y, w, h), (flat,), w * h, 0))
    return image, tuple(annotations)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_labels_that_were_turned_are_found_with_the_turn_that_puts_them_right(degrees: int) -> None:
    for seed in range(6):
        image, annotations = scene(seed)
        wrong = tuple(turned(a, degrees, 400, 300) for a in annotations)
        found = label_turn(image, wrong, 400, 300)
        assert found is not None
        assert found.outlines == "polygons"
        assert found.suspicious == (degrees != 0)
        assert found.best_degrees == (360 - degrees) % 360


def test_four_quarter_turns_are_none_and_boxes_stay_around_their_polygons() -> None:
    _, (annotation, *_) = scene(1)
    whole = turned(turned(annotation, 270, 400, 300), 90, 400, 300)
    assert whole.bbox_xywh == pytest.approx(annotation.bbox_xywh)
    assert whole.segmentation[0] == pytest.approx(annotation.segmentation[0])
    quarter = turned(Annotation(0, 0, (0, 0, 40, 30), ((0, 0, 40, 0, 40, 30),), 1, 0), 90, 400, 300)
    assert quarter.bbox_xywh == pytest.approx(
        (360, 0, 40, 30)
    )  # the left end of the top is the top of the right
    assert turned(annotation, 180, 400, 300).area == pytest.approx(annotation.area)


def test_the_scale_of_the_image_hardly_matters() -> None:
    image, annotations = scene(3)
    large = label_turn(image.resize((1600, 1200)), annotations, 400, 300)
    small = label_turn(image, annotations, 400, 300)
    assert large is not None
    assert small is not None
    assert large.fits == pytest.approx(small.fits, abs=0.08)


def test_nothing_is_said_of_what_has_no_outline() -> None:
    image, annotations = scene(0)
    assert label_turn(image, (), 400, 300) is None
    point = Annotation(0, 0, (5, 5, 1e-9, 1e-9), ((5, 5, 5, 5, 5, 5),), 0, 0)
    assert label_turn(image, (point,), 400, 300) is None
    crowd = tuple(replace(a, iscrowd=1) for a in annotations)
    assert label_turn(image, crowd, 400, 300) is None
    boxes = tuple(replace(a, segmentation=()) for a in annotations)
    found = label_turn(image, boxes, 400, 300)
    assert found is not None
    assert found.outlines == "boxes"


def test_flat_and_tiny_images_are_no_trouble() -> None:
    _, annotations = scene(0)
    for image in (Image.new("RGB", (400, 300), "grey"), Image.new("RGB", (1, 1))):
        found = label_turn(image, annotations, 400, 300)
        assert found is not None
        assert not found.suspicious


@pytest.mark.shared
def test_real_photographs(shared: Path) -> None:
    folder = shared / "taco_val225"
    raw = read_coco(folder / "annotations.json", folder / "images", clip_boxes=True)
    suspicious = {}
    for record in raw.images:
        with Image.open(record.path) as opened:
            found = label_turn(opened, record.annotations, record.width, record.height)
        if found is not None and found.suspicious:
            suspicious[record.id] = found.best_degrees
    assert suspicious == {925: 180, 942: 180}  # both looked at: the objects lie where the turned outlines are
