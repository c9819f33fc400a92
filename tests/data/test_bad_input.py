"""A corpus of broken files: each is kept out with its reason, or refused in one clear line."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from taco_kd.config import PrepareConfig
from taco_kd.data.audit import audit
from taco_kd.data.coco import read_coco
from taco_kd.data.prepare import prepare
from taco_kd.errors import DataError
from taco_kd.runs import DataDir

SIZE = (120, 80)


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is so large."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def frames(kind: str) -> bytes:
    return encoded(picture(7), kind, save_all=True, append_images=[picture(8), picture(9)])


GOOD: dict[str, Callable[[], bytes]] = {
    "plain.jpg": lambda: encoded(picture(1), "JPEG"),
    "cmyk.jpg": lambda: encoded(picture(2).convert("CMYK"), "JPEG"),
    "grey.jpg": lambda: encoded(picture(3).convert("L"), "JPEG"),
    "really_a_png.jpg": lambda: encoded(picture(4), "PNG"),
    "really_a_jpeg.png": lambda: encoded(picture(5), "JPEG"),
    "alpha.png": lambda: encoded(picture(6).convert("RGBA"), "PNG"),
    "animated.gif": lambda: frames("GIF"),
    "animated.png": lambda: frames("PNG"),
    "one_bit.png": lambda: encoded(picture(10).convert("1"), "PNG"),
    "progressive.jpg": lambda: encoded(picture(11), "JPEG", progressive=True),
}
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "zero_bytes.jpg": (lambda: b"", "not a format that Pillow knows"),
    "truncated.jpg": (lambda: encoded(picture(1), "JPEG")[:1500], "truncated"),
    "truncated.png": (lambda: encoded(picture(1), "PNG")[:3000], "cannot be decoded"),
    "page.jpg": (lambda: b"<html>404</html>", "not a format that Pillow knows"),
    "sixteen_bit.png": (
        lambda: encoded(Image.fromarray(np.full((80, 120), 4000, dtype=np.uint16)), "PNG"),
        "8-bit RGB",
    ),
    "bomb.png": (lambda: png_of(60_000, 60_000), "more than 89 million pixels"),
    "huge_side.png": (lambda: png_of(2_000_000_000, 1), "more than 89 million pixels"),
    "other_shape.jpg": (lambda: encoded(picture(1, (80, 80)), "JPEG"), "80x80 pixels"),
    "garbage.jpg": (lambda: b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4, "cannot be decoded"),
}


def corpus(root: Path) -> PrepareConfig:
    """All files of the corpus with a record and a box each; one that is missing, one that is a folder."""
    folder = root / "images"
    folder.mkdir(parents=True)
    for name, make in GOOD.items():
        (folder / name).write_bytes(make())
    for name, (make, _) in BAD.items():
        (folder / name).write_bytes(make())
    (folder / "folder.jpg").mkdir()
    names = [*GOOD, *BAD, "folder.jpg", "missing.jpg"]
    document = {
        "images": [
            {"id": k, "file_name": n, "width": SIZE[0], "height": SIZE[1]} for k, n in enumerate(names)
        ],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 1, "bbox": [10, 10, 60, 40]} for k in range(len(names))
        ],
        "categories": [{"id": 1, "name": "Can"}],
    }
    (root / "a.json").write_text(json.dumps(document))
    return PrepareConfig(
        images=folder, annotations=root / "a.json", size=64, train_ratio=0.5, quarantine=True, workers=1
    )


def test_corpus_is_prepared_without_its_bad_files_each_with_its_reason(tmp_path: Path) -> None:
    config = corpus(tmp_path / "raw")
    data = prepare(config, tmp_path / "out")
    record = data.record()
    reasons = {f["image"]: f["line"] for f in record["findings"] if f["kind"] == "quarantined"}
    assert set(reasons) == {*BAD, "folder.jpg", "missing.jpg"}
    for name, (_, expected) in BAD.items():
        assert expected in reasons[name], name
    assert "no such file" in reasons["missing.jpg"]
    kept = {i["original_file_name"] for s in ("train", "val") for i in data.coco(s)["images"]}
    assert kept == set(GOOD)
    assert record["counts"]["images_quarantined"] == len(reasons)
    before = data.record_file.stat().st_mtime_ns
    assert prepare(config, tmp_path / "out") == data  # a second run has nothing to do
    assert data.record_file.stat().st_mtime_ns == before


def test_without_quarantine_the_first_bad_file_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    config = corpus(tmp_path / "raw").model_copy(update={"quarantine": False})
    with pytest.raises(DataError, match=r"no such file \(2 of 21 images are missing\); .*--quarantine"):
        prepare(config, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_nothing_usable_is_refused_even_in_quarantine(tmp_path: Path) -> None:
    config = corpus(tmp_path / "raw")
    for name in GOOD:
        (tmp_path / "raw/images" / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"not one of 19 images can be used; the first: .*plain\.jpg"):
        prepare(config, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_the_audit_says_the_same_of_the_corpus(tmp_path: Path) -> None:
    corpus(tmp_path / "raw")
    found = audit(tmp_path / "raw/a.json", images=tmp_path / "raw/images", size_px=64)
    kinds: dict[str, set[str | None]] = {}
    for f in found.found:
        kinds.setdefault(f.kind, set()).add(f.image)
    assert kinds["missing_image"] == {"folder.jpg", "missing.jpg"}
    assert kinds["size_mismatch"] == {"other_shape.jpg"}
    assert kinds["unreadable_image"] == set(BAD) - {"other_shape.jpg"}


def test_links_are_followed_where_they_are_files_and_named_where_they_lead_nowhere(tmp_path: Path) -> None:
    config = corpus(tmp_path / "raw")
    folder = tmp_path / "raw/images"
    (tmp_path / "elsewhere.jpg").write_bytes((folder / "plain.jpg").read_bytes())
    (folder / "plain.jpg").unlink()
    (folder / "plain.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (folder / "grey.jpg").unlink()
    (folder / "grey.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (folder / "cmyk.jpg").unlink()
    (folder / "cmyk.jpg").symlink_to(folder / "cmyk.jpg")  # a circle
    data = prepare(config, tmp_path / "out")
    kept = {i["original_file_name"] for s in ("train", "val") for i in data.coco(s)["images"]}
    assert kept == set(GOOD) - {"grey.jpg", "cmyk.jpg"}
    assert not any(file.is_symlink() for file in data.path.rglob("*"))


@pytest.mark.parametrize(
    "name", ["../up.jpg", "a/../../up.jpg", "/etc/passwd", "C:\\up.jpg", "a\0.jpg", "a\n.jpg"]
)
def test_names_that_leave_the_folder_are_refused_and_found(tmp_path: Path, name: str) -> None:
    config = corpus(tmp_path / "raw")
    document = json.loads((tmp_path / "raw/a.json").read_text())
    document["images"][0]["file_name"] = name
    (tmp_path / "raw/a.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="does not stay in the image folder"):
        prepare(config, tmp_path / "out")
    found = audit(tmp_path / "raw/a.json")
    assert [f.kind for f in found.found if f.severity == "error"] == ["unsafe_file_name", "unknown_image"]


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    config = corpus(tmp_path / "raw")
    text = (tmp_path / "raw/a.json").read_text()
    (tmp_path / "raw/a.json").write_text(text, encoding="utf-8-sig")
    assert isinstance(prepare(config, tmp_path / "out"), DataDir)
    (tmp_path / "raw/a.json").write_text(text, encoding="utf-16")
    with pytest.raises(DataError, match=r"a\.json: not UTF-8 text"):
        prepare(config, tmp_path / "other")


@pytest.mark.slow
def test_a_file_of_a_hundred_megabytes_is_read(tmp_path: Path) -> None:
    count = 500_000
    images = [{"id": k, "file_name": f"{k}.jpg", "width": 720, "height": 480} for k in range(2_000)]
    categories = [{"id": k, "name": f"c{k}"} for k in range(7)]
    annotations = []
    for k in range(count):
        x, y, width = k % 600, k % 440, 32.5 + 3 * (k // 66_000)  # no box of an image twice
        outline = [x, y, x + 32, y, x + 32, y + 30]
        entry = {"id": k, "image_id": k % 2_000, "category_id": k % 7, "bbox": [x + 0.125, y, width, 30.25]}
        annotations.append(
            {**entry, "segmentation": [outline], "iscrowd": 0, "attributes": {"note": "x" * 40}}
        )
    document = {"images": images, "annotations": annotations, "categories": categories}
    file = tmp_path / "big.json"
    file.write_text(json.dumps(document))
    assert file.stat().st_size > 100_000_000
    for image in images:
        (tmp_path / image["file_name"]).touch()
    raw = read_coco(file, tmp_path)
    assert sum(len(image.annotations) for image in raw.images) == count
    found = audit(file)
    assert found.parts[0].statistics.boxes == count
    assert "duplicate_box" not in found.counts()
