"""From folders to labels, audit and figure, with a detector that says what it is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_detector import FakeDetector
from PIL import Image

from taco_kd.autolabel.figure import WIDTH_PX
from taco_kd.autolabel.stage import AutolabelOptions, autolabel
from taco_kd.data.synthetic import SCENE_CLASSES
from taco_kd.errors import DataError, UsageError

PERSON = [("person", 0.9, (10.0, 10.0, 60.0, 50.0))]


def test_labels_audit_and_figure(make_folders, tmp_path):
    root = make_folders({"paper": 3, "Plastic": 2})
    detector = FakeDetector([*PERSON, ("bottle", 0.6, (2.0, 2.0, 30.0, 30.0)), ("book", 0.1, (0, 0, 9, 9))])
    ticks = []
    result = autolabel(
        root, detector, tmp_path / "out", on_progress=lambda done, total, note="": ticks.append((done, total))
    )
    assert ticks == [(i, 5) for i in range(1, 6)]

    coco = json.loads(result.labels_file.read_text())
    names = {c["id"]: c["name"] for c in coco["categories"]}
    assert len(coco["annotations"]) == 10  # the book is below min_score
    for annotation in coco["annotations"]:
        image = coco["images"][annotation["image_id"] - 1]
        assert names[annotation["category_id"]] == image["file_name"].split("/")[0]
        assert (root / image["file_name"]).is_file()

    # A person is never waste; a bottle may be plastic and is no paper: 5 + 3 of 10.
    record = json.loads(result.audit_file.read_text())
    assert (record["overall"]["mismatch"], record["overall"]["compatible"]) == (8, 2)
    assert record["detector"] == "fake"
    assert record["summary"] == result.one_line
    assert "8 (80 %" in result.one_line
    assert "cannot tell" in result.caveat

    header, rows = result.table()
    assert [row[0] for row in rows] == ["Plastic", "paper", "all"]
    assert all(len(row) == len(header) for row in rows)
    assert rows[-1][header.index("contradict / judged")] == "8 / 10"

    with Image.open(result.figure_file) as figure:
        assert figure.format == "PNG"
        assert figure.width == WIDTH_PX
        assert figure.height > 900  # five examples: two rows
        assert (193, 18, 31) in {colour for _, colour in figure.getcolors(1 << 24)}  # the box is drawn
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "photos"]  # nothing left beside it


def test_a_broken_image_is_set_aside_and_named(make_folders, tmp_path):
    root = make_folders({"paper": 2})
    (root / "paper" / "broken.jpg").write_bytes(b"no image")
    result = autolabel(root, FakeDetector(PERSON), tmp_path / "out")
    assert result.overall.photos == 2
    assert result.overall.unreadable == 1
    (line,) = result.unreadable
    assert "broken.jpg: cannot be decoded" in line
    coco = json.loads(result.labels_file.read_text())
    assert "broken" not in json.dumps(coco["images"])


def test_only_broken_images_are_an_error_and_leave_nothing(tmp_path):
    (tmp_path / "photos" / "paper").mkdir(parents=True)
    (tmp_path / "photos" / "paper" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of its 1 images can be decoded"):
        autolabel(tmp_path / "photos", FakeDetector([]), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


def test_a_detector_that_finds_nothing_still_gives_a_result(make_folders, tmp_path):
    result = autolabel(make_folders({"paper": 1}), FakeDetector([]), tmp_path / "out")
    assert (
        result.one_line == "0 boxes in 0 of 1 photos. None of them can be judged by the names of the classes."
    )
    assert result.caveat is None
    with Image.open(result.figure_file) as figure:
        assert figure.width == WIDTH_PX


def test_names_of_any_length_and_script_fit_the_figure(make_folders, tmp_path):
    root = make_folders({"w" * 80: 1, "бумага": 1})
    detector = FakeDetector(
        [("v" * 90, 0.9, (0.0, 0.0, 80.0, 60.0))], class_names=("v" * 90, "w" * 80, "бумага")
    )
    result = autolabel(root, detector, tmp_path / "out")
    assert result.overall.mismatched == 2
    assert result.figure_file.is_file()


def test_an_old_result_is_kept_until_a_new_one_is_there(make_folders, tmp_path):
    root, out = make_folders({"paper": 1}), tmp_path / "out"
    autolabel(root, FakeDetector(PERSON), out)
    old = (out / "audit.json").read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        autolabel(root, FakeDetector([]), out)

    class Broken(FakeDetector):
        def detect(self, image):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        autolabel(root, Broken([]), out, overwrite=True)
    assert (out / "audit.json").read_bytes() == old
    assert autolabel(root, FakeDetector([]), out, overwrite=True).overall.boxes == 0
    assert (out / "audit.json").read_bytes() != old


def test_somebody_elses_folder_is_left_alone(make_folders, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        autolabel(make_folders({"paper": 1}), FakeDetector([]), tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("out", ["photos", "photos/out", "."])
def test_results_and_photos_may_not_lie_in_each_other(make_folders, tmp_path, out):
    with pytest.raises(UsageError, match="one lies in the other"):
        autolabel(make_folders({"paper": 1}), FakeDetector([]), tmp_path / out, overwrite=True)


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"scenes": 0}])
def test_counts_below_one_are_refused(tmp_path, wrong):
    with pytest.raises(UsageError, match="at least 1"):
        autolabel(None, FakeDetector([]), tmp_path / "out", options=AutolabelOptions(**wrong))


def test_without_photos_scenes_are_drawn_whose_truth_is_known(tmp_path):
    names = tuple(c.name for c in SCENE_CLASSES)
    whole_picture = [("Cigarette", 0.9, (0.0, 0.0, 640.0, 480.0))]
    detector, options = FakeDetector(whole_picture, class_names=names), AutolabelOptions(scenes=4)
    result = autolabel(None, detector, tmp_path / "out", options=options)
    assert result.overall.photos == 4
    assert result.overall.checked == 4  # every box can be compared with the truth
    assert result.overall.wrong == 4  # and no object of these scenes fills its picture
    assert "The truth is known: 4 of 4 labels (100 %) are wrong" in result.one_line
    assert result.caveat is None
    assert "really wrong" in result.table()[0]
    coco = json.loads(result.labels_file.read_text())
    assert all((result.out / "photos" / image["file_name"]).is_file() for image in coco["images"])
    assert json.loads(result.audit_file.read_text())["synthetic"] is True


def test_limit_is_per_folder(make_folders, tmp_path):
    detector = FakeDetector([])
    result = autolabel(
        make_folders({"paper": 4, "glass": 1}), detector, tmp_path / "out", options=AutolabelOptions(limit=2)
    )
    assert [folder.photos for folder in result.folders] == [1, 2]
    assert detector.sizes == [(80, 60)] * 3


def test_the_work_is_done_beside_the_result(make_folders, tmp_path: Path):
    """Until the end there is no folder of the result's name: a killed run leaves no half of one."""
    out = tmp_path / "deep" / "out"
    seen = []

    class Looking(FakeDetector):
        def detect(self, image):
            seen.append(out.exists())
            return super().detect(image)

    autolabel(make_folders({"paper": 1}), Looking([]), out)
    assert seen == [False]
    assert out.is_dir()
