"""Pascal VOC datasets: what is written is read back, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from taco_kd.data.voc import read_voc
from taco_kd.errors import DataError

names = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=8).filter(
    lambda name: bool(name.strip())
)


@st.composite
def images(draw: st.DrawFn) -> tuple[int, int, list[tuple[str, tuple[int, int, int, int]]]]:
    width, height = draw(st.integers(5, 300)), draw(st.integers(5, 300))
    objects = []
    for _ in range(draw(st.integers(0, 3))):
        x, y = draw(st.integers(1, width)), draw(st.integers(1, height))
        corner = (draw(st.integers(x, width)), draw(st.integers(y, height)))
        objects.append((draw(names), (x, y, *corner)))
    return width, height, objects


def xml(name: str, width: int, height: int, objects: Any, extra: str = "") -> str:
    parts = [
        f"<object><name>{escape(label)}</name>{extra}<bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin>"
        f"<xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for label, b in objects
    ]
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{''.join(parts)}</annotation>"


def write(root: Path, entries: list[Any], *, flat: bool = False) -> None:
    photos, notes = (root, root) if flat else (root / "JPEGImages", root / "Annotations")
    for folder in (photos, notes):
        folder.mkdir(parents=True, exist_ok=True)
    for k, (width, height, objects) in enumerate(entries):
        Image.new("1", (width, height)).save(photos / f"p_{k}.png")
        (notes / f"p_{k}.xml").write_text(xml(f"p_{k}.png", width, height, objects), encoding="utf-8")


@given(st.lists(images(), min_size=1, max_size=4).filter(lambda e: any(i[2] for i in e)), st.booleans())
@settings(deadline=None, max_examples=25)
def test_random_datasets_are_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Any], flat: bool
) -> None:
    root = tmp_path_factory.mktemp("voc")
    write(root, entries, flat=flat)
    raw = read_voc(root)
    known = [c.name for c in raw.categories]
    assert known == sorted({name.strip() for _, _, objects in entries for name, _ in objects})
    for image, (width, height, objects) in zip(raw.images, entries, strict=True):
        assert (image.width, image.height) == (width, height)
        for annotation, (name, (x1, y1, x2, y2)) in zip(image.annotations, objects, strict=True):
            assert known[annotation.category_id] == name.strip()
            assert annotation.bbox_xywh == (x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)


GOOD = (60, 40, [("cup", (1, 1, 10, 20))])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "not valid XML"),
        ("<annotation><object>", "not valid XML"),
        ("<html></html>", "its root is <html>"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>&b;</annotation>", "declares a document type"),
        (xml("p_0.png", 60, 40, [("", (1, 1, 5, 5))]), "object 1 has no name"),
        (
            xml("p_0.png", 60, 40, [("cup", (1, 1, 99, 5))]),
            "object 'cup': box .* leaves the 60x40 image by 39 px",
        ),
        (xml("p_0.png", 60, 40, [("cup", (9, 1, 5, 5))]), "has no area in the image"),
        (xml("p_0.png", 60, 40, [("cup", ("x", 1, 5, 5))]), "xmin = 'x' is no number"),
        (xml("p_0.png", 60, 40, [("cup", ("nan", 1, 5, 5))]), "xmin = 'nan' is no number"),
        (xml("p_0.png", "wide", 40, []), "size 'wide' x '40' is not made of numbers"),
        (xml("../p_0.png", 60, 40, []), r"filename '../p_0.png' is not the name of a file"),
        ("<annotation><object><name>a</name></object></annotation>", "no xmin in its bndbox"),
    ],
)
def test_malformed_file_is_named(tmp_path: Path, text: str, expected: str) -> None:
    write(tmp_path, [GOOD, GOOD])
    (tmp_path / "Annotations/p_0.xml").write_text(text)
    with pytest.raises(DataError, match=rf"p_0\.xml: .*{expected}") as caught:
        read_voc(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("flat", [False, True])
def test_image_that_is_missing_is_named(tmp_path: Path, flat: bool) -> None:
    write(tmp_path, [GOOD, GOOD], flat=flat)
    next(tmp_path.rglob("p_1.png")).unlink()
    with pytest.raises(DataError, match=r"p_1\.xml: its image 'p_1.png' is not in"):
        read_voc(tmp_path)


def test_lists_say_the_parts_and_difficult_objects_are_crowds(tmp_path: Path) -> None:
    write(tmp_path, [GOOD, GOOD, GOOD])
    hard = xml("p_2.png", 0, 0, GOOD[2], "<difficult>1</difficult>")  # and without a size
    (tmp_path / "Annotations/p_2.xml").write_text(hard)
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("p_0\np_2\n")
    (tmp_path / "ImageSets/Main/val.txt").write_text("p_1\n")
    raw = read_voc(tmp_path)
    assert [i.part for i in raw.images] == ["train", "val", "train"]
    assert [i.annotations[0].iscrowd for i in raw.images] == [0, 0, 1]
    assert (raw.images[2].width, raw.images[2].height) == (60, 40)
    assert [f.kind for f in raw.findings] == ["difficult_objects"]
    (tmp_path / "ImageSets/Main/val.txt").write_text("p_0\n")
    with pytest.raises(DataError, match="p_0 is in train too"):
        read_voc(tmp_path)


def test_folder_without_xml_is_no_voc(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not Pascal VOC's layout"):
        read_voc(tmp_path)
