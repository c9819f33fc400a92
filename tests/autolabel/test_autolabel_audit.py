"""Counting contradictions, with their interval, and wrong labels where the truth is known."""

from __future__ import annotations

import math

import pytest

from taco_kd.autolabel.audit import audit_folders, wilson_interval
from taco_kd.autolabel.compatibility import Verdict, load_compatibility
from taco_kd.autolabel.examples import choose_examples
from taco_kd.autolabel.folders import Photo
from taco_kd.autolabel.naive import LabelledPhoto, NaiveBox
from taco_kd.autolabel.truth import Fact, TrueBox, check

TABLE = load_compatibility()
COCO = ("person", "bottle", "book", "cake", "toilet")
BIG = (0.0, 0.0, 60.0, 60.0)


def photo(label: str, number: int, *boxes: tuple) -> LabelledPhoto:
    naive = tuple(NaiveBox(box[2] if len(box) > 2 else BIG, label, box[0], box[1]) for box in boxes)
    return LabelledPhoto(Photo(f"{label}/{number}.jpg", label), 100, 100, naive)


@pytest.mark.parametrize(("count", "total"), [(0, 10), (3, 10), (10, 10), (34, 45)])
def test_wilson_interval_is_the_formula(count, total):
    z, share = 1.959963984540054, count / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
    assert wilson_interval(count, total) == pytest.approx((centre - half, centre + half), abs=1e-9)


def test_wilson_interval_of_half():
    """By hand: 5 of 10 is 0.5 -+ 0.2634, as tables have it."""
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_folders_are_counted_apart_and_together():
    photos = [
        photo("paper", 1, ("person", 0.9), ("book", 0.8)),
        photo("paper", 2, ("person", 0.5)),
        photo("paper", 3),
        photo("trash", 1, ("cake", 0.4)),
    ]
    folders, overall = audit_folders(photos, TABLE, COCO, unreadable={"trash": 2, "glass": 1})
    assert [f.name for f in folders] == ["glass", "paper", "trash"]
    glass, paper, trash = folders
    assert (glass.photos, glass.unreadable, glass.boxes) == (0, 1, 0)
    assert (paper.photos, paper.photos_with_box, paper.boxes) == (3, 2, 3)
    assert paper.seen == {"person": 2, "book": 1}
    assert (paper.mismatched, paper.judged) == (2, 3)
    assert (trash.mismatched, trash.judged, trash.verdicts[Verdict.UNKNOWN]) == (0, 0, 1)
    assert trash.mismatch_interval is None
    assert (overall.photos, overall.unreadable, overall.boxes, overall.judged) == (4, 3, 4, 3)
    record = paper.record()
    assert record["mismatch_share"] == pytest.approx(2 / 3)
    assert record["mismatch_interval_95"] == wilson_interval(2, 3)
    assert record["truth"] is None
    assert list(record["seen"]) == ["person", "book"]
    assert trash.record()["mismatch_share"] is None


def test_truth_tells_right_labels_from_wrong_ones_and_from_boxes_around_nothing():
    boxes = [
        NaiveBox((0, 0, 10, 10), "paper", "person", 0.9),
        NaiveBox((20, 0, 30, 10), "paper", "book", 0.9),
        NaiveBox((0, 0, 10, 4), "paper", "book", 0.9),  # IoU 0.4 with the first object
    ]
    objects = [TrueBox("Paper", (0, 0, 10, 10)), TrueBox("Bottle", (20, 0, 30, 9))]
    assert check(boxes, objects) == [Fact.RIGHT, Fact.OTHER_OBJECT, Fact.NOTHING]
    assert check(boxes, []) == [Fact.NOTHING] * 3
    assert check([], objects) == []


def test_wrong_share_counts_only_photos_with_a_known_truth():
    photos = [photo("paper", 1, ("person", 0.9)), photo("paper", 2, ("person", 0.9))]
    truth = {"paper/1.jpg": (TrueBox("bottle", BIG),)}
    _, overall = audit_folders(photos, TABLE, COCO, truth=truth)
    assert (overall.wrong, overall.checked) == (1, 1)
    assert overall.record()["wrong_share"] == 1.0


def test_examples_take_folders_in_turn_and_one_box_a_photo():
    photos = [
        photo("paper", 1, ("person", 0.9), ("person", 0.8)),
        photo("paper", 2, ("person", 0.7)),
        photo("glass", 1, ("person", 0.6)),
        photo("plastic", 1, ("bottle", 0.99)),  # no contradiction
    ]
    chosen = choose_examples(photos, TABLE, COCO)
    assert [(e.photo.file_name, e.box.score) for e in chosen] == [
        ("paper/1.jpg", 0.9),
        ("glass/1.jpg", 0.6),
        ("paper/2.jpg", 0.7),
    ]
    assert len(choose_examples(photos, TABLE, COCO, count=2)) == 2


def test_examples_prefer_what_no_folder_holds_and_boxes_one_can_see():
    tiny = (0.0, 0.0, 3.0, 3.0)
    photos = [
        photo("paper", 1, ("toilet", 0.9), ("person", 0.5)),
        photo("paper", 2, ("person", 0.99, tiny), ("toilet", 0.3)),
    ]
    chosen = choose_examples(photos, TABLE, COCO)
    assert [(e.box.detector_class, e.box.score) for e in chosen] == [("person", 0.5), ("toilet", 0.3)]


def test_examples_leave_out_labels_that_are_right_by_luck():
    photos = [photo("paper", 1, ("person", 0.9))]
    assert choose_examples(photos, TABLE, COCO, truth={"paper/1.jpg": (TrueBox("paper", BIG),)}) == []
    assert len(choose_examples(photos, TABLE, COCO, truth={"paper/1.jpg": (TrueBox("cup", BIG),)})) == 1
