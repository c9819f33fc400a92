"""Ways out of the pitfall: which labels each keeps, and how good those are."""

from __future__ import annotations

import pytest
import torch

from taco_kd.autolabel.compatibility import load_compatibility
from taco_kd.autolabel.folders import Photo
from taco_kd.autolabel.harm import Suspicion, judge_boxes, labels_hash
from taco_kd.autolabel.naive import LabelledPhoto, NaiveBox
from taco_kd.autolabel.remedies import Second, apply_remedies, chosen_remedy, kept_by
from taco_kd.autolabel.scores import score_remedies
from taco_kd.autolabel.truth import Fact, TrueBox
from taco_kd.errors import UsageError
from taco_kd.types import Detections

TABLE = load_compatibility()
COCO = ("person", "bottle", "book", "cake")
A, B, C = (0.0, 0.0, 40.0, 40.0), (50.0, 50.0, 90.0, 90.0), (0.0, 60.0, 20.0, 80.0)


def labelled(name: str, label: str, *boxes: tuple) -> LabelledPhoto:
    naive = tuple(NaiveBox(box, label, seen, score) for seen, score, box in boxes)
    return LabelledPhoto(Photo(f"{label}/{name}.jpg", label), 100, 100, naive)


PHOTOS = [
    labelled("1", "paper", ("person", 0.9, A), ("book", 0.6, B)),
    labelled("2", "trash", ("cake", 0.3, C)),
]


def found(*boxes: tuple) -> Detections:
    if not boxes:
        return Detections.empty()
    names, scores, corners = zip(*boxes, strict=True)
    return Detections(
        torch.tensor(corners), torch.tensor(scores), torch.tensor([COCO.index(n) for n in names])
    )


def remedies(**given):
    options = {"second": "no second", "words": "no words"} | given
    return apply_remedies(PHOTOS, judge_boxes(PHOTOS, TABLE, COCO), **options)


def kept(found, key):
    return next(r for r in found if r.key == key).kept


def test_labels_are_sorted_by_harm():
    boxes = judge_boxes(PHOTOS, TABLE, COCO)
    assert [b.id for b in boxes] == [1, 2, 3]
    assert [b.suspicion for b in boxes] == [Suspicion.NEVER, Suspicion.POSSIBLE, Suspicion.UNKNOWN]
    assert boxes[0].weight == pytest.approx(0.9 * 0.16)
    assert [b.id for b in sorted(boxes, key=lambda b: b.harm)] == [1, 3, 2]
    truth = {"paper/1.jpg": (TrueBox("paper", A),)}
    known = judge_boxes(PHOTOS, TABLE, COCO, truth=truth)
    assert [b.fact for b in known] == [Fact.RIGHT, Fact.NOTHING, None]
    assert [b.suspicion for b in known] == [Suspicion.RIGHT, Suspicion.WRONG, Suspicion.UNKNOWN]


def test_each_remedy_keeps_its_own_labels():
    other = Second("other", COCO, [found(("book", 0.5, B), ("bottle", 0.9, A)), found(("cake", 0.4, A))])
    ways = remedies(second=other, confidences=(0.5,))
    assert kept(ways, "naive") == {1, 2, 3}
    assert kept(ways, "table") == {2, 3}
    assert kept(ways, "confirmed") == {2}
    assert kept(ways, "confidence-0.5") == {1, 2}
    assert kept(ways, "agreement") == {2}  # the bottle is another class, the cake is elsewhere
    assert kept(ways, "table+agreement") == {2}
    assert kept_by(ways)[2] == ["table", "confirmed", "confidence-0.5", "agreement", "table+agreement"]
    assert kept_by(ways)[3] == ["table"]


def test_an_open_vocabulary_detector_draws_boxes_of_its_own_and_supports_others():
    words = Second("owl", (), [Detections(torch.tensor([B]), torch.tensor([0.7]), torch.tensor([0]))] * 2)
    ways = remedies(words=words)
    own = next(r for r in ways if r.key == "open-vocabulary")
    assert [[box.label for box in boxes] for boxes in own.boxes] == [["paper"], ["trash"]]
    assert own.kept == frozenset()
    assert kept(ways, "open-vocabulary+box") == {2}
    (score,) = score_remedies([own], PHOTOS, [], truth=None)
    assert (score.labels, score.photos, score.judged) == (2, 2, None)


def test_what_is_not_there_says_so_plainly():
    ways = remedies()
    absent = [(r.key, r.absent) for r in ways if r.absent]
    assert absent == [
        ("agreement", "no second"),
        ("table+agreement", "no second"),
        ("open-vocabulary", "no words"),
    ]
    rows = score_remedies(ways, PHOTOS, judge_boxes(PHOTOS, TABLE, COCO), truth=None)
    assert rows[-1].record() == {
        "remedy": "open-vocabulary",
        "what": "open-vocabulary detector",
        "not_available": "no words",
    }
    with pytest.raises(UsageError, match="agreement: not available: no second"):
        chosen_remedy(ways, "agreement")
    with pytest.raises(UsageError, match="unknown remedy 'magic': choose one of table, confirmed"):
        chosen_remedy(ways, "magic")


def test_scores_against_a_known_truth():
    """One of two labels is right, one of three objects has a right label; AP by hand."""
    truth = {"paper/1.jpg": (TrueBox("paper", B), TrueBox("person", A), TrueBox("paper", C))}
    judged = judge_boxes(PHOTOS, TABLE, COCO, truth=truth)
    naive, table, *_ = score_remedies(remedies(), PHOTOS, judged, truth=truth)
    assert (naive.right, naive.checked) == (1, 2)  # the second photo's truth is not known
    assert (naive.found, naive.objects) == (1, 3)
    assert (table.right, table.checked) == (1, 1)
    assert naive.record()["precision"] == 0.5
    # Class paper: the wrong label comes first, so precision is 1/2 up to recall 1/2: 51 of 101 points.
    # Class person: no label at all, AP 0.
    assert naive.ap50 == pytest.approx((0.5 * 51 / 101 + 0) / 2)
    assert table.ap50 == pytest.approx((1.0 * 51 / 101 + 0) / 2)


def test_without_truth_no_share_of_right_labels_is_made_up():
    rows = score_remedies(remedies(), PHOTOS, judge_boxes(PHOTOS, TABLE, COCO), truth=None)
    assert all(row.right is row.checked is row.ap is row.right_interval is None for row in rows)
    assert (rows[0].contradicted, rows[0].judged) == (1, 2)


def test_the_hash_names_the_labels():
    assert labels_hash(PHOTOS) == labels_hash(list(PHOTOS))
    assert labels_hash(PHOTOS) != labels_hash(PHOTOS[:1])
