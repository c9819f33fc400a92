"""Cohen's kappa, reviews files, and what they say of the table and of the remedies."""

from __future__ import annotations

import json

import numpy as np
import pytest

from taco_kd.autolabel.agreement import FORMAT, agreement, kappa_of, read_reviews, review_record
from taco_kd.autolabel.audit import clustered_interval, wilson_interval
from taco_kd.autolabel.review import review_line
from taco_kd.errors import DataError


def test_kappa_of_the_usual_example():
    """20 and 15 equal, 5 and 10 not: 0.7 observed, 0.5 by chance."""
    assert kappa_of(np.array([20, 5, 15, 10])) == pytest.approx(0.4)


def test_kappa_of_sklearn_free_cases():
    assert kappa_of(np.array([10, 0, 10, 0])) == 1.0
    assert kappa_of(np.array([0, 10, 0, 10])) == -1.0
    assert kappa_of(np.array([10, 0, 0, 0])) is None  # nobody called anything right: chance explains all
    assert kappa_of(np.array([0, 0, 0, 0])) is None


def test_agreement_counts_and_intervals():
    rows = [(i, True, True) for i in range(20)] + [(100 + i, True, False) for i in range(5)]
    rows += [(200 + i, False, True) for i in range(10)] + [(300 + i, False, False) for i in range(15)]
    found = agreement(rows)
    assert (found.both_wrong, found.only_table, found.only_other, found.both_right) == (20, 5, 10, 15)
    assert found.kappa == pytest.approx(0.4)
    low, high = found.kappa_interval
    # Fleiss, Cohen and Everitt's large-sample error is 0.126 here.
    assert (low, high) == pytest.approx((0.4 - 1.96 * 0.126, 0.4 + 1.96 * 0.126), abs=0.04)
    record = found.record()
    assert record["accord"] == 0.7
    assert record["wrong_of_contradicted"] == 0.8
    assert record["wrong_of_contradicted_interval_95"] == pytest.approx(wilson_interval(20, 25))


def test_boxes_of_one_photo_count_for_less_than_boxes_of_many():
    alike = clustered_interval([(10, 10), (0, 10)] * 5)
    apart = clustered_interval([(1, 1), (0, 1)] * 50)
    assert alike[0] < apart[0] < 0.5 < apart[1] < alike[1]
    assert apart == pytest.approx(wilson_interval(50, 100), abs=0.002)
    assert clustered_interval([(10, 10), (10, 10)]) == wilson_interval(2, 2)
    assert clustered_interval([(0, 0)]) is None


def naive(*rows):
    annotations = [
        {"id": i, "image_id": i, "verdict": verdict, "kept_by": list(kept)}
        for i, (verdict, kept) in enumerate(rows, start=1)
    ]
    return {"annotations": annotations}


def test_only_the_random_sample_enters_the_figures():
    labels = naive(
        ("mismatch", ()),
        ("compatible", ("table",)),
        ("unknown", ("table",)),
        ("mismatch", ()),
        ("mismatch", ()),
    )
    answers = {1: "wrong", 2: "right", 3: "wrong", 4: "unsure", 5: "right"}
    record = review_record(answers, labels, sample=[1, 2, 3, 4])
    assert record["answers"] == {"right": 2, "wrong": 2, "unsure": 1}
    assert (record["answered_in_sample"], record["answered_but_not_judged"], record["outside_sample"]) == (
        3,
        1,
        1,
    )
    assert record["agreement"]["labels"] == 2
    assert record["agreement"]["kappa"] == 1.0
    assert record["remedies"]["naive"]["right"] == 1
    assert record["remedies"]["naive"]["reviewed"] == 3
    assert (record["remedies"]["table"]["right"], record["remedies"]["table"]["reviewed"]) == (1, 2)
    assert "Cohen's kappa 1.00" in review_line(record)
    none = review_record({5: "right"}, labels, sample=[1])
    assert "no agreement to give" in review_line(none)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "is no reviews file"),
        ({"format": "other"}, "is no reviews file"),
        ({"format": FORMAT, "labels": "b"}, "is about other labels"),
        ({"format": FORMAT, "labels": "a"}, "box None"),
        ({"format": FORMAT, "labels": "a", "reviews": []}, "holds no answer yet"),
        (
            {"format": FORMAT, "labels": "a", "reviews": [{"box": 9, "answer": "right"}]},
            "there are boxes 1 to 3",
        ),
        ({"format": FORMAT, "labels": "a", "reviews": [{"box": True, "answer": "right"}]}, "box True"),
        ({"format": FORMAT, "labels": "a", "reviews": [{"box": 1, "answer": "yes"}]}, "answer 'yes': right"),
        ({"format": FORMAT, "labels": "a", "reviews": ["x"]}, "reviews.0: box None"),
    ],
)
def test_a_bad_reviews_file_is_refused_with_the_place(tmp_path, value, message):
    file = tmp_path / "reviews.json"
    file.write_text(json.dumps(value))
    with pytest.raises(DataError, match=message):
        read_reviews(file, labels_hash="a", boxes=3)


def test_a_good_reviews_file(tmp_path):
    file = tmp_path / "reviews.json"
    rows = [{"box": 1, "answer": "right"}, {"box": 3, "answer": "unsure"}]
    file.write_text(json.dumps({"format": FORMAT, "labels": "a", "reviews": rows}))
    assert read_reviews(file, labels_hash="a", boxes=3) == {1: "right", 3: "unsure"}
