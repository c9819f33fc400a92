"""The COCO reader: what it accepts, what it repairs, and the one line for everything else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taco_kd.data.coco import read_coco
from taco_kd.data.records import Annotation
from taco_kd.data.taco import read_taco
from taco_kd.errors import DataError

GOOD: dict[str, Any] = {
    "info": {"description": "three images"},
    "images": [
        {"id": 1, "file_name": "b.jpg", "width": 100, "height": 50},
        {"id": 0, "file_name": "sub/a.jpg", "width": 40.0, "height": 80},
        {"id": 5, "file_name": "empty.jpg", "width": 10, "height": 10},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 5, 20, 30], "area": 400, "iscrowd": 1,
         "segmentation": [[10, 5, 30, 5, 30, 35]]},
        {"id": 2, "image_id": 0, "category_id": 3, "bbox": [0, 0, 40, 80]},
    ],
    "categories": [
        {"id": 7, "name": "Drink can", "supercategory": "Can"},
        {"id": 3, "name": "Cigarette", "supercategory": None},
    ],
}  # fmt: skip


def folder_of(path: Path, document: object) -> Path:
    """``path`` with the file and an (empty) file for each image that the document names sensibly."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "annotations.json").write_text(json.dumps(document))
    for name in ("b.jpg", "sub/a.jpg", "empty.jpg"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).touch()
    return path


def read(path: Path, document: object, **options: bool) -> Any:
    folder = folder_of(path, document)
    return read_coco(folder / "annotations.json", folder, **options)


def changed(*place: Any, to: Any) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    inner: Any = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = to
    return document


def test_valid_file_is_read_as_it_is(tmp_path: Path) -> None:
    raw = read(tmp_path, GOOD)
    assert [image.id for image in raw.images] == [0, 1, 5]
    assert [c.name for c in raw.categories] == ["Drink can", "Cigarette"]  # the order of the file
    assert raw.images[0].width == 40
    assert raw.images[0].path == tmp_path / "sub/a.jpg"
    assert raw.images[0].annotations[0].area == 40 * 80  # the box's, where none is given
    assert raw.images[1].annotations == (
        Annotation(1, 7, (10, 5, 20, 30), ((10, 5, 30, 5, 30, 35),), 400, 1),
    )
    assert raw.images[2].annotations == ()
    assert raw.description == "three images"
    assert raw.findings == ()


BAD = {
    "a list": ([], "not a COCO annotation file: a list"),
    "no categories": ({"images": [], "annotations": []}, "not a COCO annotation file: no 'categories'"),
    "images is a dict": (changed("images", to={}), "'images' is not a list"),
    "image is a number": (changed("images", 1, to=4), r"images\[1\] is not an object"),
    "no images": (changed("images", to=[]), "lists no image"),
    "no categories listed": (changed("categories", to=[]), "lists no category"),
    "no annotations": (changed("annotations", to=[]), "not one usable annotation"),
    "image id twice": (changed("images", 1, "id", to=1), "image id 1 is used twice"),
    "category id twice": (changed("categories", 1, "id", to=7), "category id 7 is used twice"),
    "category name twice": (changed("categories", 1, "name", to="Drink can"), "two categories"),
    "half a character": (changed("categories", 0, "name", to="\ud800"), "category id 7: name"),
    "text id": (changed("images", 0, "id", to="1"), "image id '1': id = '1': .*integer"),
    "true id": (changed("annotations", 0, "id", to=True), "annotation id True: id = True"),
    "negative id": (changed("images", 0, "id", to=-1), "image id -1"),
    "no width": (changed("images", 0, to={"id": 1, "file_name": "b.jpg", "height": 3}), "id 1: no 'width'"),
    "zero width": (changed("images", 0, "width", to=0), "image id 1: width = 0"),
    "unknown image": (changed("annotations", 0, "image_id", to=77), "id 1: no image has the id 77"),
    "unknown category": (changed("annotations", 0, "category_id", to=9), "annotation id 1: no category .* 9"),
    "three numbers": (changed("annotations", 0, "bbox", to=[1, 2, 3]), r"id 1: bbox = \[1, 2, 3\]"),
    "NaN": (changed("annotations", 0, "bbox", to=[float("nan"), 0, 1, 1]), "annotation id 1: bbox = .*nan"),
    "infinite": (changed("annotations", 0, "bbox", to=[0, 0, float("inf"), 1]), "id 1: bbox = .*inf"),
    "negative size": (changed("annotations", 0, "bbox", to=[9, 9, -5, 5]), r"annotation id 1: .*no area"),
    "zero size": (changed("annotations", 0, "bbox", to=[9, 9, 0, 5]), "annotation id 1: .*no area"),
    "negative area": (changed("annotations", 0, "area", to=-3), "annotation id 1: area = -3"),
    "outside": (
        changed("annotations", 0, "bbox", to=[90, 5, 20, 30]),
        r"json: annotation id 1: bbox \[90.*of 'b.jpg' leaves the 100x50 image by 10 px; .*--clip-boxes",
    ),
    "absolute name": (changed("images", 0, "file_name", to="/etc/passwd"), "file_name '/etc/passwd'"),
    "windows name": (changed("images", 0, "file_name", to="C:\\x.jpg"), "image id 1: file_name"),
    "name going up": (changed("images", 0, "file_name", to="sub/../../b.jpg"), "does not stay in"),
    "name with NUL": (changed("images", 0, "file_name", to="b\0.jpg"), "does not stay in"),
    "missing file": (changed("images", 0, "file_name", to="c.jpg"), r"c.jpg: no such file \(1 of 3 images"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_that_names_it(tmp_path: Path, case: str) -> None:
    document, expected = BAD[case]
    with pytest.raises(DataError, match=expected) as caught:
        read(tmp_path, document)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "\ud800", "[" * 100_000, "42"])
def test_what_is_not_json_is_said_to_be_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(DataError, match=r"a\.json: not "):
        read_coco(tmp_path / "a.json", tmp_path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        read_coco(tmp_path / "none.json", tmp_path)
    folder = folder_of(tmp_path, GOOD)
    with pytest.raises(DataError, match="pictures: no such folder"):
        read_coco(folder / "annotations.json", folder / "pictures")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_taco(tmp_path / "nowhere")
    with pytest.raises(DataError, match="not TACO's layout"):
        read_taco(tmp_path / "sub")


def test_small_overshoot_is_clipped_with_a_finding(tmp_path: Path) -> None:
    raw = read(tmp_path, changed("annotations", 0, "bbox", to=[-1.5, 5, 20, 30]))
    (clipped,) = raw.images[1].annotations
    assert clipped.bbox_xywh == (0, 5, 18.5, 30)
    assert [f.kind for f in raw.findings] == ["clipped_box"]
    assert "annotation id 1" in raw.findings[0].line
    assert "1.5 px" in raw.findings[0].line


def test_clip_boxes_repairs_and_drops(tmp_path: Path) -> None:
    document = changed("annotations", 0, "bbox", to=[90, 5, 20, 30])
    document["annotations"] += [
        {"id": 3, "image_id": 1, "category_id": 7, "bbox": [200, 5, 20, 30]},
        {"id": 4, "image_id": 1, "category_id": 7, "bbox": [20, 5, 0, 30]},
    ]
    raw = read(tmp_path, document, clip_boxes=True)
    (clipped,) = raw.images[1].annotations
    assert clipped.bbox_xywh == (90, 5, 10, 30)
    assert clipped.area == 300  # no mask is larger than its box
    assert [f.kind for f in raw.findings] == ["clipped_box", "dropped_box", "dropped_box"]


def test_repeated_annotation_ids_become_unique(tmp_path: Path) -> None:
    raw = read(tmp_path, changed("annotations", 1, "id", to=1))
    ids = sorted(a.id for image in raw.images for a in image.annotations)
    assert ids == [1, 2]
    assert [f.kind for f in raw.findings] == ["repeated_annotation_id"]


@pytest.mark.parametrize(
    "mask", [{"counts": "abc", "size": [50, 100]}, [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]]]
)
def test_masks_that_are_no_polygons_are_left_out_with_a_finding(tmp_path: Path, mask: object) -> None:
    raw = read(tmp_path, changed("annotations", 0, "segmentation", to=mask))
    assert raw.images[1].annotations[0].segmentation == ()
    assert [f.kind for f in raw.findings] == ["mask_left_out"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
PLACES = [
    (section, index, key)
    for section in ("images", "annotations", "categories")
    for index, entry in enumerate(GOOD[section])
    for key in entry
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=JSON | st.fixed_dictionaries(dict.fromkeys(("images", "annotations", "categories"), JSON)))
def test_random_json_is_never_worse_than_a_data_error(tmp_path: Path, document: object) -> None:
    with pytest.raises(DataError):
        read(tmp_path, document)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), value=JSON, clip_boxes=st.booleans())
def test_one_wrong_value_is_a_data_error_or_a_sound_dataset(
    tmp_path: Path, place: tuple[Any, ...], value: object, clip_boxes: bool
) -> None:
    try:
        raw = read(tmp_path, changed(*place, to=value), clip_boxes=clip_boxes)
    except DataError:
        return
    ids = [a.id for image in raw.images for a in image.annotations]
    assert len(ids) == len(set(ids))
    for image in raw.images:
        assert image.path.is_relative_to(tmp_path)
        for annotation in image.annotations:
            x, y, w, h = annotation.bbox_xywh
            assert x >= 0
            assert y >= 0
            assert w > 0
            assert h > 0
            assert x + w <= image.width * (1 + 1e-12)
            assert y + h <= image.height * (1 + 1e-12)


sides = st.integers(1, 5000)
fractions = st.tuples(*[st.floats(0, 1)] * 4)


@settings(deadline=None)
@given(width=sides, height=sides, size=st.integers(32, 4096), corners=fractions)
def test_scaled_boxes_keep_their_relative_place(
    width: int, height: int, size: int, corners: tuple[float, float, float, float]
) -> None:
    left, right = sorted(corners[:2])
    top, bottom = sorted(corners[2:])
    box = (left * width, top * height, (right - left) * width, (bottom - top) * height)
    polygon = (box[0], box[1], box[0] + box[2], box[1], box[0] + box[2], box[1] + box[3])
    scaled = Annotation(0, 0, box, (polygon,), box[2] * box[3], 0).scaled(size / width, size / height)
    x, y, w, h = scaled.bbox_xywh
    assert (x / size, y / size) == pytest.approx((left, top))
    assert (w / size, h / size) == pytest.approx((right - left, bottom - top), abs=1e-9)
    assert scaled.area == pytest.approx(w * h, rel=1e-9, abs=1e-9)
    assert scaled.segmentation[0] == pytest.approx((x, y, x + w, y, x + w, y + h), abs=1e-9)
