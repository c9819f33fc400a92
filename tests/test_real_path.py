"""The whole path on a slice of the real TACO photos, through the program a user types."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.shared


def run(*words, cwd):
    found = subprocess.run(
        [sys.executable, "-m", "taco_kd", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=500,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found


@pytest.fixture(scope="module")
def annotations_slice(shared, tmp_path_factory):
    """The COCO file of taco_val225, cut to 24 images with their annotations."""
    whole = json.loads((shared / "taco_val225/annotations.json").read_text())
    images = whole["images"][:24]
    ids = {image["id"] for image in images}
    whole.update(images=images, annotations=[a for a in whole["annotations"] if a["image_id"] in ids])
    file = tmp_path_factory.mktemp("slice") / "annotations.json"
    file.write_text(json.dumps(whole))
    return file


def test_coco_source_through_every_stage(shared, annotations_slice, tmp_path):
    images = shared / "taco_val225/images"
    run(
        "prepare",
        "--source",
        "coco",
        "--images",
        images,
        "--annotations",
        annotations_slice,
        "--out",
        "W",
        cwd=tmp_path,
    )
    record = json.loads((tmp_path / "W/dataset.json").read_text())
    assert len(record["class_names"]) == 60
    assert record["counts"]["train"]["images"] + record["counts"]["val"]["images"] == 24
    trained = run("train", "--data", "W", "--out", "base", "--steps", 2, cwd=tmp_path)
    assert "10 classes copied" in trained.stderr
    assert "50 at random" in trained.stderr
    run("distill", "--data", "W", "--out", "kd", "--steps", 2, cwd=tmp_path)
    metrics = json.loads(run("evaluate", "base", "kd", "--json", cwd=tmp_path).stdout)
    assert metrics["kd"]["images"] == record["counts"]["val"]["images"]
    run("compare", "base", "kd", "--resamples", 100, cwd=tmp_path)
    run("bench", "base", "kd", "--seconds", 0.2, "--iterations", 5, cwd=tmp_path)
    run("report", "base", "kd", "--resamples", 100, "--out", "r.html", cwd=tmp_path)
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/jpeg") >= 2


def test_taco_layout_of_native_photos(shared, tmp_path):
    script = shared / "scripts/make_taco_layout.py"
    subprocess.run(
        [sys.executable, script, tmp_path / "taco", "--scale", "0.2", "--limit", "20", "--exif", "4"],
        check=True,
        capture_output=True,
    )
    run("prepare", "--source", "taco", "--root", "taco", "--out", "W", cwd=tmp_path)
    planted = json.loads((tmp_path / "taco/planted.json").read_text())
    record = json.loads((tmp_path / "W/dataset.json").read_text())
    assert record["counts"]["duplicates_removed"] == len(planted["duplicates"])
    assert record["counts"]["exif_turned"] == 4
    result = json.loads(run("distill", "--data", "W", "--steps", 2, "--json", cwd=tmp_path).stdout)
    assert result["after"]["images"] == record["counts"]["val"]["images"]
