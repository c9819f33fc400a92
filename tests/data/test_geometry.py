"""Boxes and polygons go where the pixels go, and come back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from taco_kd.data.geometry import LETTERBOX_GREY, Mode, Placement
from taco_kd.data.records import Annotation

MODES: tuple[Mode, ...] = ("stretch", "letterbox")
sides = st.integers(1, 5000)
sizes = st.integers(32, 1024)
fractions = st.floats(0, 1, allow_nan=False)


def box(x: float, y: float, w: float, h: float) -> Annotation:
    return Annotation(1, 2, (x, y, w, h), ((x, y, x + w, y, x + w, y + h),), w * h, 0)


@given(sides, sides, sizes, st.sampled_from(MODES), st.tuples(fractions, fractions, fractions, fractions))
@settings(deadline=None, max_examples=200)
def test_boxes_scale_and_back(
    width: int, height: int, size: int, mode: Mode, part: tuple[float, float, float, float]
) -> None:
    x, y = part[0] * width, part[1] * height
    given_box = (x, y, part[2] * (width - x), part[3] * (height - y))
    placement = Placement.of(width, height, size=size, mode=mode)
    placed = placement.place(box(*given_box))
    left, top, w, h = placed.bbox_xywh
    assert left >= placement.left
    assert top >= placement.top
    assert left + w <= size
    assert top + h <= size
    assert placement.photo_box(placed.bbox_xywh) == pytest.approx(given_box, abs=1e-6 * max(width, height))
    # The polygon's corners stay the corners of the box.
    (polygon,) = placed.segmentation
    assert polygon[:2] == pytest.approx((left, top))
    assert polygon[4:] == pytest.approx((left + w, top + h), abs=1e-6 * size)


@given(sides, sides, sizes)
@settings(deadline=None, max_examples=200)
def test_letterbox_keeps_proportions_to_a_pixel(width: int, height: int, size: int) -> None:
    placement = Placement.of(width, height, size=size, mode="letterbox")
    assert max(placement.content_width, placement.content_height) == size
    scale = size / max(width, height)
    assert abs(placement.content_width - width * scale) <= 1
    assert abs(placement.content_height - height * scale) <= 1
    spare = size - placement.content_height - 2 * placement.top
    assert spare in (0, 1)  # centred


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("photo", [(300, 200), (200, 300), (97, 97)])
def test_pixels_and_boxes_agree(mode: Mode, photo: tuple[int, int]) -> None:
    picture = Image.new("RGB", photo, "white")
    x, y, w, h = 40, 30, 50, 60
    ImageDraw.Draw(picture).rectangle((x, y, x + w - 1, y + h - 1), fill=(200, 0, 0))
    placement = Placement.of(*photo, size=256, mode=mode)
    square = placement.render(picture)
    assert square.size == (256, 256)
    red = square.convert("RGB").split()[1].point(lambda v: 255 if v < 60 else 0)
    assert red.getbbox() is not None
    left, top, right, bottom = red.getbbox()  # type: ignore[misc]
    bx, by, bw, bh = placement.place(box(x, y, w, h)).bbox_xywh
    assert (left, top, right, bottom) == pytest.approx((bx, by, bx + bw, by + bh), abs=1.5)
    if mode == "letterbox" and photo[0] > photo[1]:
        assert square.getpixel((128, 2)) == (LETTERBOX_GREY,) * 3


def test_letterbox_by_hand() -> None:
    placement = Placement.of(1000, 500, size=640, mode="letterbox")
    assert (placement.left, placement.top, placement.content_width, placement.content_height) == (
        0,
        160,
        640,
        320,
    )
    assert placement.place(box(100, 100, 50, 25)).bbox_xywh == pytest.approx((64, 224, 32, 16))


@given(sides, sides, sizes, st.tuples(fractions, fractions, fractions, fractions))
@settings(deadline=None, max_examples=100)
def test_truncated_boxes_are_whole_pixels(
    width: int, height: int, size: int, part: tuple[float, float, float, float]
) -> None:
    x, y = part[0] * width, part[1] * height
    annotation = box(x, y, part[2] * (width - x), part[3] * (height - y))
    placement = Placement.of(width, height, size=size, mode="stretch")
    whole = placement.place(annotation, truncate=True)
    exact = placement.place(annotation)
    assert all(v == int(v) for v in whole.bbox_xywh)
    assert all(0 <= b - a < 1.001 for a, b in zip(whole.bbox_xywh, exact.bbox_xywh, strict=True))
    assert whole.segmentation == exact.segmentation
