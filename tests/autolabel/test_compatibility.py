"""The table of which detector class can be a thing of which folder."""

from __future__ import annotations

import csv
from importlib import resources

import pytest

from taco_kd.autolabel.compatibility import Verdict, load_compatibility
from taco_kd.errors import DataError

COCO = ("person", "bottle", "wine glass", "book", "giraffe")


@pytest.mark.parametrize(
    ("folder", "seen", "verdict"),
    [
        ("paper", "person", Verdict.MISMATCH),  # the paper's Fig. 5 (b)
        ("plastic", "bottle", Verdict.COMPATIBLE),
        ("glass", "wine glass", Verdict.COMPATIBLE),
        ("cardboard", "book", Verdict.UNKNOWN),
        ("metal", "book", Verdict.MISMATCH),
        ("trash", "sandwich", Verdict.UNKNOWN),
        ("trash", "giraffe", Verdict.MISMATCH),
        ("metal", "Drink can", Verdict.COMPATIBLE),
        ("paper", "Glass bottle", Verdict.MISMATCH),
    ],
)
def test_packaged_table(folder, seen, verdict):
    assert load_compatibility().judge(folder, seen, COCO) is verdict


def test_packaged_table_judges_all_of_coco_and_taco_and_gives_reasons():
    text = (resources.files("taco_kd.autolabel") / "compatibility.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    assert len({row["detector_class"] for row in rows}) == 80 + 60
    assert all(row["why"].strip() for row in rows)
    assert len(load_compatibility().verdicts) == (80 + 60) * 6


def test_no_coco_class_is_a_waste_material():
    """No folder of TrashNet bears the name of a class: COCO cannot say what TrashNet asks."""
    folders = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
    table = load_compatibility()
    assert all((name, name) not in table.verdicts for name in folders)


def test_names_match_whatever_their_case_and_blanks():
    table = load_compatibility()
    assert table.judge("Glass", "Wine_Glass ", COCO) is Verdict.COMPATIBLE


def test_names_match_by_name_and_never_by_place():
    table = load_compatibility()
    assert table.judge("paper", "person", COCO) is table.judge("paper", "person", COCO[::-1])


def test_a_folder_outside_the_table_is_unknown():
    assert load_compatibility().judge("battery acid", "person", COCO) is Verdict.UNKNOWN


def test_a_detector_class_outside_the_table_is_unknown():
    assert load_compatibility().judge("paper", "spaceship", ("spaceship",)) is Verdict.UNKNOWN


def test_a_detector_that_knows_the_folders_class_contradicts_it_by_another():
    table, classes = load_compatibility(), ("Spaceship", "Teapot")
    assert table.judge("teapot", "Teapot", classes) is Verdict.COMPATIBLE
    assert table.judge("teapot", "Spaceship", classes) is Verdict.MISMATCH


def test_never_is_what_no_folder_holds():
    table = load_compatibility()
    assert table.never("person")
    assert not table.never("toilet")  # may lie in the folder trash
    assert not table.never("spaceship")


def test_a_users_table(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("# mine\nwhy,detector_class,Bin 1\n,Cup,yes\nheavy,anvil,NO\n", encoding="utf-8")
    table = load_compatibility(file)
    assert table.judge("bin-1", "cup", ()) is Verdict.COMPATIBLE
    assert table.judge("Bin 1", "anvil", ()) is Verdict.MISMATCH
    assert table.judge("paper", "person", ()) is Verdict.MISMATCH  # the packaged table is still below it
    assert table.source == str(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a column 'detector_class'"),
        ("name,paper\ncup,yes\n", "it has name, paper"),
        ("detector_class,why\ncup,x\n", "one column per folder class"),
        ("detector_class,paper\ncup,maybe\n", "'cup' in 'paper' is 'maybe'; write yes, no or \\?"),
        ("detector_class,paper,glass\ncup,yes\n", "'cup' in 'glass' is ''"),
        ("detector_class,paper\ncup,yes\nCUP,no\n", "given twice"),
    ],
)
def test_bad_tables_are_refused_with_the_cell(tmp_path, text, message):
    file = tmp_path / "mine.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_compatibility(file)


def test_a_table_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        load_compatibility(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        load_compatibility(tmp_path / "bad.csv")


def test_a_users_cell_goes_before_the_packaged_one(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("detector_class,paper\nperson,?\n", encoding="utf-8")
    assert load_compatibility(file).judge("paper", "person", COCO) is Verdict.UNKNOWN
    assert load_compatibility(file).judge("glass", "person", COCO) is Verdict.MISMATCH


def test_names_that_nobody_has_are_told_with_the_nearest(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("detector_class,papr,glass\nbotle,yes,yes\nperson,no,no\n", encoding="utf-8")
    lines = load_compatibility(file).strangers(("paper", "glass"), COCO)
    assert len(lines) == 2
    assert "column 'papr' is no folder; did you mean 'paper'?" in lines[0]
    assert "detector_class 'botle' is no class of the detector; did you mean 'bottle'?" in lines[1]
    assert (
        load_compatibility().strangers(("paper",), COCO) == []
    )  # the packaged table covers more than anyone has


def test_a_folder_of_which_nothing_can_be_judged():
    table = load_compatibility()
    assert table.silent("battery acid", COCO)
    assert not table.silent("Paper", COCO)
    assert not table.silent("bottle", COCO)
