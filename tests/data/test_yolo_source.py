"""YOLO datasets: what is written is read back, and what is wrong is named by file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from taco_kd.config import PrepareConfig
from taco_kd.data.prepare import prepare
from taco_kd.data.yolo import image_ids, parse_line, read_yolo
from taco_kd.errors import DataError

CLASSES = 3
coordinate = st.floats(0, 1, allow_nan=False).map(lambda v: round(v, 6))


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, ...]:
    w, h = draw(st.floats(0.01, 1)), draw(st.floats(0.01, 1))
    return (draw(st.floats(w / 2, 1 - w / 2)), draw(st.floats(h / 2, 1 - h / 2)), w, h)


@st.composite
def polygons(draw: st.DrawFn) -> tuple[float, ...]:
    points = draw(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=6, unique=True))
    spread = [max(p[k] for p in points) - min(p[k] for p in points) for k in (0, 1)]
    return tuple(v for p in points for v in p) if min(spread) > 0.01 else (0.1, 0.1, 0.9, 0.1, 0.5, 0.9)


labels = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.one_of(boxes(), polygons())), max_size=4)
datasets = st.lists(
    st.tuples(st.sampled_from(["train", "val"]), st.integers(8, 400), st.integers(8, 400), labels),
    min_size=1,
    max_size=5,
).filter(lambda images: any(entry[3] for entry in images))


def write(root: Path, images: list[tuple[str, int, int, Any]], yaml: str | None = None) -> None:
    for number, (part, width, height, objects) in enumerate(images):
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True, exist_ok=True)
        Image.new("1", (width, height)).save(root / f"images/{part}/p{number}.png")
        lines = "".join(f"{c} {' '.join(f'{v:.6f}' for v in values)}\n" for c, values in objects)
        (root / f"labels/{part}/p{number}.txt").write_text(lines)
    parts = "".join(f"{p}: images/{p}\n" for p in ("train", "val") if (root / "images" / p).is_dir())
    (root / "data.yaml").write_text(yaml or f"{parts}names: [a, b, c]\n")


@given(datasets)
@settings(deadline=None, max_examples=25)
def test_random_datasets_are_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, images: list[tuple[str, int, int, Any]]
) -> None:
    root = tmp_path_factory.mktemp("yolo")
    write(root, images)
    raw = read_yolo(root)
    assert [category.name for category in raw.categories] == ["a", "b", "c"]
    by_name = {image.file_name: image for image in raw.images}
    for number, (part, width, height, objects) in enumerate(images):
        if not any(entry[3] for entry in images if entry[0] == part):
            continue  # label files exist all the same, so the part stays
        image = by_name[f"images/{part}/p{number}.png"]
        assert (image.width, image.height, image.part) == (width, height, part)
        assert len(image.annotations) == len(objects)
        for annotation, (category, values) in zip(image.annotations, objects, strict=True):
            assert annotation.category_id == category
            x, y, w, h = annotation.bbox_xywh
            if len(values) == 4:
                found = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
                assert found == pytest.approx(values, abs=3e-6)
                assert annotation.segmentation == ()
            else:
                (polygon,) = annotation.segmentation
                scaled = [v * (height if k % 2 else width) for k, v in enumerate(values)]
                assert polygon == pytest.approx(scaled, abs=1e-3)
                assert (x, y) == pytest.approx((min(scaled[::2]), min(scaled[1::2])), abs=1e-3)


@given(st.text(alphabet="0123456789.-e nainf#,", max_size=40))
@settings(deadline=None, max_examples=200)
def test_any_line_is_a_label_or_one_clear_error(line: str) -> None:
    if not line.strip():
        return
    try:
        annotation = parse_line(line, (100, 50), CLASSES, who="f.txt:3", number=0)
    except DataError as error:
        message = str(error)
    else:
        assert 0 <= annotation.category_id < CLASSES
        assert all(abs(v) < 1000 for v in annotation.bbox_xywh)
        return
    assert message.startswith("f.txt:3: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0.5 0.5 0.1", "4 numbers; a label is a class and 4 of a box"),
        ("0 0.5 0.5 0.1 0.1 0.9", "6 numbers"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "8 numbers"),
        ("3 0.5 0.5 0.1 0.1", "class 3 is not one of 0 to 2"),
        ("-1 0.5 0.5 0.1 0.1", "class -1 is not"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5 is not"),
        ("cup 0.5 0.5 0.1 0.1", "is not made of numbers"),
        ("0 nan 0.5 0.1 0.1", "not finite"),
        ("0 0.5 0.5 -0.1 0.1", "must not be negative"),
        ("0 320 240 50 50", "320 is no fraction of the image"),
        ("0 0.5 0.5 0 0.1", "has no area in the image"),
        ("0 0.95 0.5 0.3 0.1", "leaves the 200x100 image by 20 px; correct it or add --clip-boxes"),
    ],
)
def test_malformed_line_is_named(tmp_path: Path, line: str, expected: str) -> None:
    write(tmp_path, [("train", 200, 100, [(0, (0.5, 0.5, 0.2, 0.2))])])
    (tmp_path / "labels/train/p0.txt").write_text(f"0 0.5 0.5 0.2 0.2\n\n{line}\n")
    with pytest.raises(DataError, match=rf"p0\.txt:3: .*{expected}"):
        read_yolo(tmp_path)


def test_clip_boxes_clips_and_drops_with_findings(tmp_path: Path) -> None:
    write(tmp_path, [("train", 200, 100, [(0, (0.95, 0.5, 0.3, 0.2)), (1, (1.3, 0.5, 0.1, 0.1))])])
    raw = read_yolo(tmp_path, clip_boxes=True)
    assert raw.images[0].annotations[0].bbox_xywh == pytest.approx((160, 40, 40, 20))
    assert [f.kind for f in raw.findings] == ["clipped_box", "dropped_box"]


ONE = [("train", 20, 20, [(0, (0.5, 0.5, 0.2, 0.2))]), ("val", 20, 20, [(1, (0.5, 0.5, 0.2, 0.2))])]


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("names: [a, b, c\n", "not valid YAML .line"),
        ("- a\n- b\n", "not a YOLO dataset: list"),
        ("train: images/train\n", "names = None"),
        ("train: images/train\nnames: [a, a, b]\n", "names 'a' twice"),
        ("train: images/train\nnames: [a]\nnc: 2\n", "nc = 2, but it names 1 classes"),
        ("train: images/train\nnames: {0: a, 2: b}\n", "numbered 0 to 1"),
        ("train: images/nowhere\nnames: [a, b, c]\n", "train = 'images/nowhere' is not there"),
        ("train: ../../elsewhere\nnames: [a, b, c]\n", "train = '../../elsewhere' is not there"),
        ("names: [a, b, c]\nnc: 3\n", "hold no image"),
        ("train: data.yaml\nnames: [a, b, c]\n", "neither a folder"),
        ("train: list.txt\nnames: [a, b, c]\n", r"list\.txt:2: no such image in the dataset: '/etc/passwd'"),
    ],
)
def test_bad_yaml_is_named(tmp_path: Path, yaml: str, expected: str) -> None:
    write(tmp_path, ONE, yaml)
    (tmp_path / "list.txt").write_text("./images/train/p0.png\n/etc/passwd\n")
    with pytest.raises(DataError, match=expected):
        read_yolo(tmp_path)


@pytest.mark.parametrize(
    "yaml",
    [
        "train: ../train/images\nval: ../val/images\nnames: [a, b, c]\n",  # as Roboflow writes
        "path: ../datasets/mine\ntrain: train/images\nval: val/images\nnames: {0: a, 1: b, 2: c}\n",
        "train: [train/images]\nval: val.txt\nnames: [a, b, c]\nnc: 3\n",
    ],
)
def test_layouts_that_people_publish(tmp_path: Path, yaml: str) -> None:
    write(tmp_path, ONE)
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        for kind in ("images", "labels"):
            (tmp_path / kind / part).rename(tmp_path / part / kind)
    (tmp_path / "data.yaml").write_text(yaml)
    (tmp_path / "val.txt").write_text("val/images/p1.png\n")
    raw = read_yolo(tmp_path)
    assert [(i.file_name, i.part, len(i.annotations)) for i in raw.images] == [
        ("train/images/p0.png", "train", 1),
        ("val/images/p1.png", "val", 1),
    ]


def test_export_of_an_annotation_tool_without_yaml(tmp_path: Path) -> None:
    write(tmp_path, ONE)
    (tmp_path / "data.yaml").rename(tmp_path / "classes.txt")
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    raw = read_yolo(tmp_path)
    assert [i.part for i in raw.images] == ["train", "val"]


def test_missing_labels_are_objects_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path, [*ONE, ("train", 30, 30, []), ("test", 20, 20, [])])
    (tmp_path / "labels/train/p2.txt").unlink()
    (tmp_path / "labels/test/p3.txt").unlink()
    (tmp_path / "data.yaml").write_text(
        "train: images/train\nval: images/val\ntest: images/test\nnames: [a, b, c]\n"
    )
    raw = read_yolo(tmp_path)
    assert [len(i.annotations) for i in raw.images] == [1, 0, 1]
    assert [f.kind for f in raw.findings] == ["no_label_file", "unlabelled_part"]


def test_sizes_are_those_that_viewers_show(tmp_path: Path) -> None:
    write(tmp_path, ONE)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "images/train/p0.jpg", exif=exif)
    (tmp_path / "images/train/p0.png").unlink()
    image = read_yolo(tmp_path).images[0]
    assert (image.width, image.height) == (20, 40)
    assert image.annotations[0].bbox_xywh == pytest.approx((8, 16, 4, 8))


def test_ids_are_numbers_in_the_file_names_or_places() -> None:
    assert image_ids([Path("a/1004.jpg"), Path("b/17.jpg")]) == [1004, 17]
    assert image_ids([Path("a/0007.jpg"), Path("b/7.jpg")]) == [0, 1]
    assert image_ids([Path("a/x.jpg"), Path("b/7.jpg")]) == [0, 1]


def test_split_of_the_source_is_kept_or_refused(tmp_path: Path) -> None:
    sizes = [(40 + 7 * k, 30 + 5 * k) for k in range(6)]
    images = [("train" if k < 4 else "val", *sizes[k], [(k % 3, (0.5, 0.5, 0.3, 0.3))]) for k in range(6)]
    write(tmp_path / "raw", images)
    config = PrepareConfig(root=tmp_path / "raw", size=64, keep_split=True, hash_threshold=0)
    for k in range(6):  # blank images would be duplicates
        part = "train" if k < 4 else "val"
        picture = Image.effect_noise(sizes[k], 20 + 30 * k).convert("RGB")
        picture.save(tmp_path / f"raw/images/{part}/p{k}.png")
    data = prepare(config, tmp_path / "out")
    assert [len(data.coco(s)["images"]) for s in ("train", "val")] == [4, 2]  # type: ignore[arg-type]
    assert {i["original_file_name"] for i in data.coco("val")["images"]} == {
        "images/val/p4.png",
        "images/val/p5.png",
    }
    (tmp_path / "raw/data.yaml").write_text("train: images/val\nval: images/val\nnames: [a, b, c]\n")
    with pytest.raises(DataError, match=r"2 images are in two parts.*cannot be kept"):
        prepare(config, tmp_path / "other")
