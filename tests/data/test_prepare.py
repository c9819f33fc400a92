"""The preparation stage from files to files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from taco_kd.config import PrepareConfig
from taco_kd.data.estimate import plan
from taco_kd.data.geometry import Placement
from taco_kd.data.images import ImageJob, orientation_to_apply, process_image
from taco_kd.data.named_ids import named_ids
from taco_kd.data.output import coco_split
from taco_kd.data.prepare import prepare, summary_line
from taco_kd.data.synthetic import write_scenes
from taco_kd.data.taco import read_taco
from taco_kd.data.yolo_output import write_labels
from taco_kd.errors import DataError, TacoKDError, UsageError
from taco_kd.runs import DataDir

SHARED = Path(__file__).resolve().parents[3] / "shared"
STORED = {  # the inverse of what a viewer does (EXIF 2.32, tag Orientation)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def picture(seed: int, size: tuple[int, int] = (120, 80)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def write_coco(root: Path, count: int = 8, size: tuple[int, int] = (120, 80)) -> PrepareConfig:
    """A folder of ``count`` pictures with a box each, as the settings that read it at 64 pixels."""
    (root / "images").mkdir(parents=True)
    images, annotations = [], []
    for k in range(count):
        picture(k, size).save(root / "images" / f"{k}.jpg")
        images.append({"id": k, "file_name": f"{k}.jpg", "width": size[0], "height": size[1]})
        box = [k % 20, 2 * (k % 20), 30.5, 20]
        annotations.append({"id": k, "image_id": k, "category_id": 4 + k % 2, "bbox": box})
    categories = [{"id": i, "name": name} for i, name in ((9, "Never"), (5, "Can"), (4, "Cup"))]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "a.json").write_text(json.dumps(document))
    return PrepareConfig(images=root / "images", annotations=root / "a.json", size=64, train_ratio=0.5)


def odd_kinds(findings: list[dict[str, Any]]) -> list[str]:
    """Kinds of findings but those that ``write_coco`` always gives: boxes anywhere, a class without one."""
    return [f["kind"] for f in findings if f["kind"] not in ("label_turned", "unused_class")]


def all_images(data: DataDir) -> dict[int, tuple[dict[str, Any], Image.Image]]:
    """JSON entry and pixels of each output image, by id."""
    found = {}
    for split in ("train", "val"):
        for entry in data.coco(split)["images"]:
            with Image.open(data.image_file(split, entry["file_name"])) as image:
                found[entry["id"]] = (entry, image.copy())
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(f.relative_to(folder)): f.read_bytes()
        for f in sorted(folder.rglob("*"))
        if f.is_file() and f.name != "dataset.json"
    }


def mean_difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.mean(ImageStat.Stat(ImageChops.difference(a, b)).mean))


def test_output_is_square_scaled_and_complete(tmp_path: Path) -> None:
    config = write_coco(tmp_path / "raw")
    data = prepare(config, tmp_path / "out")
    assert data.class_names == ("Never", "Can", "Cup")
    boxes = {}
    for split in ("train", "val"):
        coco = data.coco(split)
        assert [c["id"] for c in coco["categories"]] == [9, 5, 4]
        assert len(list(data.images_dir(split).iterdir())) == len(coco["images"]) == 4
        boxes |= {a["image_id"]: a for a in coco["annotations"]}
    for k, (entry, image) in all_images(data).items():
        assert image.size == (entry["width"], entry["height"]) == (64, 64)
        assert (entry["original_file_name"], entry["original_width"]) == (f"{k}.jpg", 120)
        assert boxes[k]["bbox"] == pytest.approx([k * 64 / 120, 2 * k * 64 / 80, 30.5 * 64 / 120, 16])
        assert boxes[k]["area"] == pytest.approx(30.5 * 20 * 64 * 64 / (120 * 80))
        assert mean_difference(image, picture(k).resize((64, 64), Image.Resampling.BICUBIC)) < 4
    counts = data.record()["counts"]
    assert counts["images_read"] == 8
    assert sum(counts[s]["boxes_per_class"]["Can"] for s in ("train", "val")) == 4
    assert counts["val"]["boxes_per_class"]["Never"] == 0
    assert not (data.path / "raw").exists()
    assert summary_line(data) == (
        "8 images read, 0 duplicates removed, 0 turned by EXIF -> 4 train / 4 val at 64x64, 3 classes"
    )


def test_synthetic_scenes_are_drawn_cleaned_and_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PrepareConfig(scenes=30, size=96, seed=5)
    calls: list[str] = []
    data = prepare(config, tmp_path / "out", on_progress=lambda done, total, note="": calls.append(note))
    counts = data.record()["counts"]
    assert counts["images_read"] == 31
    assert counts["duplicates_removed"] == counts["exif_turned"] == 1
    assert calls.count("drawing") == calls.count("reading images") == 31
    assert [p.name for p in tmp_path.iterdir()] == ["out"]

    monkeypatch.setattr("taco_kd.data.sources.write_scenes", lambda *a, **k: pytest.fail("drawn again"))
    assert prepare(config, tmp_path / "out") == data


def test_planted_duplicates_and_turns_are_all_found_and_nothing_else(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "raw", count=20, seed=11, near_duplicates=6, exif_turned=6)
    planted = json.loads((root / "planted.json").read_text())
    data = prepare(PrepareConfig(root=root, size=96), tmp_path / "out")
    pairs = json.loads(data.duplicates_file.read_text())["pairs"]
    assert sorted(pair["image_ids"] for pair in pairs) == sorted(planted["duplicates"])
    assert data.record()["counts"]["exif_turned"] == len(planted["exif"]) == 6
    assert data.record()["config"]["source"] == "taco"


def write_turned(path: Path, upright: Image.Image, orientation: int) -> None:
    """``upright`` stored so that a viewer who applies ``orientation`` shows it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.transpose(STORED[orientation]) if orientation != 1 else upright
    stored.save(path, exif=exif, quality=95)


@pytest.mark.parametrize("size", [(120, 80), (80, 120), (96, 96)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pixels_come_out_upright(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    upright = picture(1, size)
    write_turned(tmp_path / "t.jpg", upright, orientation)
    with Image.open(tmp_path / "t.jpg") as stored:  # Pillow agrees about what the orientation means
        assert mean_difference(ImageOps.exif_transpose(stored), upright) < 4
    for mode in ("stretch", "letterbox"):
        job = ImageJob(tmp_path / "t.jpg", *size, 64, tmp_path / "out.jpg", mode)  # type: ignore[arg-type]
        result = process_image(job)
        assert result.turned == (orientation != 1)
        with Image.open(tmp_path / "out.jpg") as image:
            placed = Placement.of(*size, size=64, mode=mode).render(upright)  # type: ignore[arg-type]
            assert mean_difference(image, placed) < 4
    # The size confirms quarter turns, except of squares.
    confirmed = orientation == 1 or (orientation >= 5 and size[0] != size[1])
    assert result.unconfirmed == (None if confirmed else orientation)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_orientation_that_the_size_denies_is_not_applied(tmp_path: Path, orientation: int) -> None:
    upright = picture(1)
    write_turned(tmp_path / "t.jpg", upright, orientation)
    job = ImageJob(tmp_path / "t.jpg", 80, 120, 64, tmp_path / "out.jpg")  # the size of the stored pixels
    result = process_image(job)
    assert not result.turned
    assert result.unconfirmed is None
    with Image.open(tmp_path / "out.jpg") as image:
        stored = upright.transpose(STORED[orientation])
        assert mean_difference(image, stored.resize((64, 64), Image.Resampling.BICUBIC)) < 4


def test_turns_that_no_size_can_confirm_are_findings(tmp_path: Path) -> None:
    config = write_coco(tmp_path / "raw")
    write_turned(tmp_path / "raw/images/2.jpg", picture(2), 3)
    findings = prepare(config, tmp_path / "out").record()["findings"]
    assert odd_kinds(findings) == ["unconfirmed_turn"]
    assert findings[0]["line"].startswith("2.jpg: turned by EXIF orientation 3, a half turn or mirror")


def test_orientation_follows_the_size_in_the_annotation_file() -> None:
    wide, tall = (120, 80), (80, 120)
    assert orientation_to_apply(wide, 6, tall) == 6  # the JSON describes the upright image
    assert orientation_to_apply(wide, 6, wide) == 1  # the JSON describes the stored pixels
    assert orientation_to_apply(wide, 3, wide) == 3
    assert orientation_to_apply((80, 80), 8, (80, 80)) == 8  # a square: as viewers show it
    assert orientation_to_apply(wide, 1, (240, 160)) == 1  # another scale of the same image
    assert orientation_to_apply(wide, 6, (160, 240)) == 6
    assert orientation_to_apply(wide, 1, tall) is None
    assert orientation_to_apply(wide, 1, (120, 90)) is None


def damaged(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "16 bit":
        Image.fromarray(np.full((80, 120), 4000, dtype=np.uint16)).save(stream, "PNG")
    elif kind == "other size":
        picture(0, (100, 100)).save(stream, "JPEG")
    else:
        picture(0).save(stream, "JPEG")
    whole = stream.getvalue()
    return {"empty": b"", "text": b"<html>404</html>", "truncated": whole[: len(whole) // 2]}.get(kind, whole)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("empty", "cannot be decoded .not a format"),
        ("text", "cannot be decoded .not a format"),
        ("truncated", "cannot be decoded .*truncated"),
        ("16 bit", "cannot be decoded .*8-bit RGB"),
        ("other size", r"100x100 pixels \(EXIF orientation 1\), but the annotation file says 120x80"),
    ],
)
def test_unusable_image_is_named_and_leaves_nothing(tmp_path: Path, kind: str, expected: str) -> None:
    config = write_coco(tmp_path / "raw")
    (tmp_path / "raw/images/3.jpg").write_bytes(damaged(kind))
    with pytest.raises(DataError, match=r"3\.jpg: " + expected):
        prepare(config, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize(
    "limit", [5000, 2000]
)  # 9,600 pixels: Pillow warns above one limit, raises above two
def test_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    config = write_coco(tmp_path / "raw")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=r"0\.jpg: more than .* million pixels"):
        prepare(config, tmp_path / "out")


def test_transparent_grey_and_palette_images_become_rgb(tmp_path: Path) -> None:
    config = write_coco(tmp_path / "raw")
    folder = tmp_path / "raw/images"
    Image.new("RGBA", (120, 80), (255, 0, 0, 0)).save(folder / "0.jpg", "PNG")  # the name may lie
    picture(1).convert("L").save(folder / "1.jpg")
    picture(2).quantize(16).save(folder / "2.jpg", "PNG")
    picture(3).convert("CMYK").save(folder / "3.jpg")
    found = all_images(prepare(config, tmp_path / "out"))
    assert all(image.mode == "RGB" for _, image in found.values())
    assert found[0][1].getpixel((5, 5)) == (255, 255, 255)
    palette = picture(2).quantize(16).convert("RGB")
    assert mean_difference(found[2][1], palette.resize((64, 64), Image.Resampling.BICUBIC)) < 4


def test_image_at_another_scale_is_a_finding(tmp_path: Path) -> None:
    config = write_coco(tmp_path / "raw")
    picture(2, (60, 40)).save(tmp_path / "raw/images/2.jpg")
    findings = prepare(config, tmp_path / "out").record()["findings"]
    findings = [f for f in findings if f["kind"] == "other_scale"]
    assert [f["image"] for f in findings] == ["2.jpg"]
    assert "60x40 pixels for 120x80" in findings[0]["line"]


def test_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    config = write_coco(tmp_path / "raw", count=70)
    one = prepare(config.model_copy(update={"workers": 1}), tmp_path / "one")
    two = prepare(config.model_copy(update={"workers": 2}), tmp_path / "two")
    assert contents(one.path) == contents(two.path)
    assert len(contents(one.path)) == 2 * 70 + 7
    assert one.content_hash == two.content_hash


def test_error_in_a_worker_comes_through(tmp_path: Path) -> None:
    config = write_coco(tmp_path / "raw", count=70)
    (tmp_path / "raw/images/66.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"66\.jpg: cannot be decoded"):
        prepare(config.model_copy(update={"workers": 2}), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_second_run_is_a_no_op_wherever_the_data_lies(tmp_path: Path) -> None:
    config = write_coco(tmp_path / "raw")
    data = prepare(config, tmp_path / "out")
    before = data.record_file.stat().st_mtime_ns
    assert prepare(config, tmp_path / "out") == data
    (tmp_path / "raw").rename(tmp_path / "moved")
    moved = {"images": tmp_path / "moved/images", "annotations": tmp_path / "moved/a.json", "workers": 3}
    assert prepare(config.model_copy(update=moved), tmp_path / "out") == data
    assert data.record_file.stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["settings", "image", "annotation file"])
def test_another_dataset_is_not_overwritten_unasked(tmp_path: Path, change: str) -> None:
    config = write_coco(tmp_path / "raw")
    old = prepare(config, tmp_path / "out").content_hash
    if change == "settings":
        config = config.model_copy(update={"seed": 1})
    elif change == "image":
        picture(99).save(tmp_path / "raw/images/3.jpg")
    else:
        text = (tmp_path / "raw/a.json").read_text()
        (tmp_path / "raw/a.json").write_text(text.replace("30.5", "31.5"))
    with pytest.raises(UsageError, match=r"already holds another dataset.*--overwrite"):
        prepare(config, tmp_path / "out")
    assert DataDir.open(tmp_path / "out").content_hash == old
    assert prepare(config, tmp_path / "out", overwrite=True).content_hash != old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "raw"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupted_overwrite_keeps_the_old_dataset(tmp_path: Path, error: type[BaseException]) -> None:
    config = write_coco(tmp_path / "raw")
    old = contents(prepare(config, tmp_path / "out").path)

    def stop(done: int, total: int, note: str = "") -> None:
        if done == 5:
            raise error

    with pytest.raises(error):
        prepare(config.model_copy(update={"seed": 1}), tmp_path / "out", overwrite=True, on_progress=stop)
    assert contents(tmp_path / "out") == old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "raw"]
    with pytest.raises(error):
        prepare(config, tmp_path / "new", on_progress=stop)
    assert not (tmp_path / "new").exists()


def test_foreign_folder_is_left_alone_even_with_overwrite(tmp_path: Path) -> None:
    config = write_coco(tmp_path / "raw")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is not empty"):
            prepare(config, tmp_path / "raw", overwrite=overwrite)
    assert (tmp_path / "raw/a.json").is_file()


def test_worker_that_dies_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures.process import BrokenProcessPool

    from taco_kd.data import parallel

    class Dying(parallel.ProcessPoolExecutor):
        def map(self, *args: Any, **kwargs: Any) -> Any:
            raise BrokenProcessPool

    monkeypatch.setattr(parallel, "ProcessPoolExecutor", Dying)
    with pytest.raises(TacoKDError, match="--workers 1"):
        parallel.ordered_map(str, list(range(70)), workers=2)


X = Path("x")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"root": X, "images": X}, "--root and --images contradict"),
        ({"images": X}, "--images without --annotations"),
        ({"annotations": X}, "--annotations without --images"),
        ({"source": "taco", "images": X}, "source taco has no use for --images"),
        ({"source": "coco", "root": X, "images": X}, "--root and --images contradict"),
        ({"source": "voc", "images": X}, "source voc has no use for --images"),
        ({"source": "voc"}, "source voc needs --root"),
        ({"source": "yolo"}, "source yolo needs --root"),
        ({"ids": "a", "keep_split": True}, "--ids and --keep-split contradict"),
        ({"keep_split": True, "kfold": 3}, "--keep-split and --kfold contradict"),
        ({"ids": "taco-paper-225", "group_by": "scene"}, "--ids and --group-by contradict"),
        ({"fold": 1}, "--fold 1 without --kfold"),
        ({"fold": 3, "kfold": 3}, "--fold 3 of --kfold 3"),
        ({"source": "synthetic", "annotations": X}, "source synthetic has no use for --annotations"),
        ({"source": "taco"}, "source taco needs --root"),
        ({"source": "coco", "images": X}, "source coco needs --images FOLDER and --annotations"),
    ],
)
def test_contradictory_options_are_named(tmp_path: Path, given: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        prepare(PrepareConfig(**given), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_too_few_images_leave_nothing(tmp_path: Path) -> None:
    config = write_coco(tmp_path / "raw", count=1)
    with pytest.raises(DataError, match="of 1 images"):
        prepare(config, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_torch_is_not_loaded() -> None:
    code = "import sys, taco_kd.data.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.shared
def test_real_photographs_in_taco_layout(tmp_path: Path) -> None:
    script = SHARED / "scripts/make_taco_layout.py"
    if not script.is_file():
        pytest.skip(f"{script} is absent")
    options = ["--limit", "24", "--scale", "0.2", "--exif", "9", "--duplicates", "3"]
    subprocess.run([sys.executable, script, tmp_path / "raw", *options], check=True, capture_output=True)
    planted = json.loads((tmp_path / "raw/planted.json").read_text())
    data = prepare(PrepareConfig(root=tmp_path / "raw", size=160), tmp_path / "out")
    pairs = json.loads(data.duplicates_file.read_text())["pairs"]
    assert sorted(pair["image_ids"] for pair in pairs) == sorted(planted["duplicates"])
    found = all_images(data)
    assert set(planted["exif"]) <= {str(i) for i in found} | {str(i) for i, _ in planted["duplicates"]}
    for image_id, (_, image) in found.items():
        original = SHARED / "taco_val225/images" / f"{image_id}.jpg"
        if original.is_file():  # the images, upright and stretched to a square, as their authors made them
            with Image.open(original) as reference:
                assert mean_difference(image, reference.resize((160, 160))) < 10, image_id
    assert data.record()["counts"]["exif_turned"] == 9


@pytest.mark.shared
def test_real_photographs_in_coco_format(tmp_path: Path) -> None:
    source = SHARED / "taco_val225"
    if not source.is_dir():
        pytest.skip(f"{source} is absent")
    document = json.loads((source / "annotations.json").read_text())
    wanted = {478, 769}  # unrelated, 6 bits apart
    document["images"] = [i for i in document["images"] if i["id"] in wanted or i["id"] < 100]
    ids = {i["id"] for i in document["images"]}
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] in ids]
    (tmp_path / "a.json").write_text(json.dumps(document))
    config = PrepareConfig(
        images=source / "images", annotations=tmp_path / "a.json", size=160, hash_threshold=8
    )
    data = prepare(config, tmp_path / "out")
    duplicates = json.loads(data.duplicates_file.read_text())
    assert (duplicates["pairs"], duplicates["candidates_rejected_by_pixels"]) == ([], 1)
    boxes = sum(data.record()["counts"][s]["boxes"] for s in ("train", "val"))
    assert boxes == len(document["annotations"])
    assert len(data.class_names) == 60


def test_plan_counts_and_estimates_and_writes_nothing(tmp_path: Path) -> None:
    config = write_coco(tmp_path / "raw", count=20)
    found = plan(config, tmp_path / "deep/out")
    assert (found.source, found.images_read, found.boxes, found.classes) == ("coco", 20, 20, 3)
    assert found.images == {"train": 10, "val": 10}
    data = prepare(config, tmp_path / "out")
    size = sum(f.stat().st_size for f in data.path.rglob("*") if f.is_file() and f.name != "examples.jpg")
    assert 0.3 < found.disk_bytes / size < 3
    assert found.seconds >= 0  # rounded: these photos are tiny
    assert found.free_bytes > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "raw"]
    scenes = plan(PrepareConfig(scenes=100, size=64, kfold=4), tmp_path / "out")
    assert (scenes.images_read, scenes.images) == (102, {"train": 76, "val": 26})
    (tmp_path / "raw/images/3.jpg").unlink()
    with pytest.raises(DataError, match=r"3\.jpg: no such file"):
        plan(config, tmp_path / "out")


def test_narrow_boxes_that_truncation_leaves_empty_are_findings(tmp_path: Path) -> None:
    config = write_coco(tmp_path / "raw")
    document = json.loads((tmp_path / "raw/a.json").read_text())
    document["annotations"][3]["bbox"] = [10, 10, 1.5, 20]  # 0.8 pixels wide at 64
    (tmp_path / "raw/a.json").write_text(json.dumps(document))
    whole = prepare(config, tmp_path / "whole").record()["counts"]
    assert sum(whole[s]["boxes"] for s in ("train", "val")) == 8
    record = prepare(config.model_copy(update={"truncate_boxes": True}), tmp_path / "cut").record()
    assert sum(record["counts"][s]["boxes"] for s in ("train", "val")) == 7
    assert odd_kinds(record["findings"]) == ["vanished_box"]


@pytest.mark.shared
def test_labels_are_those_of_the_papers_authors(tmp_path: Path, shared: Path) -> None:
    """776 of 776 rows, from the official sizes and boxes: labels need no pixels."""
    official = json.loads((shared / "taco_val225/taco_official_annotations.json").read_text())
    for image in official["images"]:
        path = tmp_path / "raw" / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "raw/annotations.json").write_text(json.dumps(official))
    raw = read_taco(tmp_path / "raw")
    assert len(raw.images) == 1500
    val = named_ids("taco-paper-225", raw.images)
    config = PrepareConfig(truncate_boxes=True)
    coco = coco_split([image for image in raw.images if image.id in val], raw, config, {})
    assert (len(coco["images"]), len(coco["annotations"])) == (225, 776)
    data = DataDir(tmp_path / "out")
    write_labels(data, "val", coco)
    rows = 0
    for file in (shared / "taco_val225/labels_yolo_original").glob("[0-9]*.txt"):
        ours = data.labels_dir("val") / f"{int(file.stem):06d}.txt"
        assert ours.read_text() == file.read_text(), file.name
        rows += len(file.read_text().splitlines())
    assert rows == 776
