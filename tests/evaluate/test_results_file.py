"""Results of other tools: what is read, and the one line that says what is wrong with a file."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from coco_cases import SIDE, coco_cases, detector, scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.errors import DataError
from taco_kd.evaluate.coco_metrics import evaluate_coco
from taco_kd.evaluate.results_file import check_results, read_ground_truth, read_results

TRUTH = scenes(12)
FOUND = detector(TRUTH, jitter=0.1)


def write(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def refusal(path: Path, value: object, truth: dict[str, Any] | None = TRUTH) -> str:
    """The message, which is one line and names the file."""
    with pytest.raises(DataError) as caught:
        read_results(write(path, value), truth)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def said(act: Callable[[], object]) -> str | None:
    """The line with which something was refused, or None."""
    try:
        act()
    except DataError as error:
        return str(error) if "\n" not in str(error) else "several lines"
    return None


def changed(**change: Any) -> list[dict[str, Any]]:
    rows = copy.deepcopy(FOUND)
    rows[3] |= change
    return rows


def with_boxes(convert: Any) -> list[dict[str, Any]]:
    return [row | {"bbox": convert(*row["bbox"])} for row in FOUND]


def test_a_list_and_a_dictionary_with_annotations_are_the_same(tmp_path: Path) -> None:
    assert read_results(write(tmp_path / "a.json", FOUND), TRUTH) == FOUND
    inside = {"info": {}, "annotations": FOUND}
    assert read_results(write(tmp_path / "b.json", inside), TRUTH) == FOUND
    assert read_results(tmp_path / "a.json") == FOUND


def test_more_keys_and_whole_numbers_are_read(tmp_path: Path) -> None:
    row = {"image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 1, "area": 1200, "file": "x"}
    assert read_results(write(tmp_path / "a.json", [row]), TRUTH) == [row]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[]", "an empty list: there is nothing to evaluate"),
        ("{}", "a dictionary with nothing and no list of annotations; a COCO results file is a list of"),
        ('{"images": []}', "a dictionary with images and no list of annotations"),
        ('{"annotations": []}', "an empty list"),
        ('"text"', "holds a text; a COCO results file is a list"),
        ("7", "holds a number"),
        ("null", "holds null"),
        ("[1]", "0: holds a number; a COCO results file"),
        ("[[1, 2]]", "0: holds a list"),
        ("[{}]", "0.image_id is missing"),
        ("not json", "not valid JSON (line 1"),
        ("[" * 100_000, "not usable JSON"),
        ("", "not valid JSON"),
        (TRUTH, "annotations.0 has no score: this looks like a ground truth; give it as --annotations"),
    ],
)
def test_files_that_are_no_results(tmp_path: Path, value: object, message: str) -> None:
    assert refusal(tmp_path / "a.json", value).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, "3.score = nan: input should be a finite number"),
        ({"score": float("inf")}, "3.score = inf: input should be a finite number"),
        ({"score": float("-inf")}, "3.score = -inf"),
        ({"score": "0.5"}, "3.score = '0.5': input should be a valid number"),
        ({"score": None}, "3.score = None"),
        ({"score": True}, "3.score = True"),
        ({"score": 10**400}, "3.score = 1000"),
        ({"image_id": "0"}, "3.image_id = '0': input should be a valid integer"),
        ({"image_id": 1.0}, "3.image_id = 1.0"),
        ({"image_id": 10**30}, "3.image_id = 1000"),
        ({"image_id": True}, "3.image_id = True"),
        ({"category_id": "class 2"}, "3.category_id = 'class 2' is the name of a class; write its id (2)"),
        ({"category_id": "bottle"}, "3.category_id = 'bottle'"),
        ({"bbox": [1, 2, 3]}, "3.bbox.3 is missing"),
        ({"bbox": [1, 2, 3, float("nan")]}, "3.bbox.3 = nan"),
        ({"bbox": [1, 2, -3, 4]}, "3.bbox = [1, 2, -3, 4]: width or height -3 is negative"),
        ({"bbox": "1 2 3 4"}, "3.bbox = '1 2 3 4'"),
        ({"bbox": [900, 900, 5, 5]}, "3: bbox = [900.0, 900.0, 5.0, 5.0]: entirely outside image"),
        ({"image_id": 77}, "3: image_id = 77: the ground truth has no such image (1 of"),
        ({"category_id": 9}, "3: category_id = 9: the ground truth has 3 categories, 0 to 2, and not this"),
    ],
)
def test_one_bad_row(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert refusal(tmp_path / "a.json", changed(**change)).startswith(message)


def test_corners_instead_of_sizes(tmp_path: Path) -> None:
    rows = with_boxes(lambda x, y, w, h: [max(x, 0), max(y, 0), min(x + w, SIDE), min(y + h, SIDE)])
    message = refusal(tmp_path / "a.json", rows)
    assert "boxes look like [x1, y1, x2, y2]; write [x, y, width, height]" in message
    # Image sizes are not needed: the true boxes tell.
    bare = TRUTH | {"images": [{"id": image["id"]} for image in TRUTH["images"]]}
    assert "boxes look like [x1, y1, x2, y2]" in refusal(tmp_path / "a.json", rows, bare)
    # One row is enough where the box it means is an object of the image.
    x, y, w, h = TRUTH["annotations"][0]["bbox"]
    one = [{"image_id": 0, "category_id": 0, "bbox": [x, y, x + w, y + h], "score": 0.5}]
    assert "boxes look like [x1, y1, x2, y2]" in refusal(tmp_path / "a.json", one)


def test_fractions_instead_of_pixels(tmp_path: Path) -> None:
    rows = with_boxes(lambda *box: [value / SIDE for value in box])
    assert "boxes look like fractions of the image (0..1); multiply" in refusal(tmp_path / "a.json", rows)
    bare = TRUTH | {"images": [{"id": image["id"]} for image in TRUTH["images"]]}
    assert "boxes look like fractions of the image" in refusal(tmp_path / "a.json", rows, bare)


def test_pixels_of_the_original_photos(tmp_path: Path) -> None:
    original = {"original_width": 4 * SIDE, "original_height": 3 * SIDE}
    truth = TRUTH | {"images": [image | original for image in TRUTH["images"]]}
    rows = with_boxes(lambda x, y, w, h: [4 * x, 3 * y, 4 * w, 3 * h])
    message = refusal(tmp_path / "a.json", rows, truth)
    assert "boxes look like pixels of the original photos (800x600 here)" in message
    assert "scale them to the ground truth's images (200x200)" in message
    assert read_results(write(tmp_path / "b.json", FOUND), truth) == FOUND
    # Without the original sizes it is still seen that something is wrong.
    assert "of the boxes leave their images (200x200 here)" in refusal(tmp_path / "a.json", rows)


def test_results_on_other_images(tmp_path: Path) -> None:
    rows = [row | {"image_id": row["image_id"] + 1000} for row in FOUND]
    message = refusal(tmp_path / "a.json", rows)
    assert message.startswith("0: image_id = 10")
    assert "none of its image ids is in the ground truth (12 images, 0 to 11): results on other" in message


def test_class_ids_that_are_shifted(tmp_path: Path) -> None:
    rows = [row | {"category_id": row["category_id"] + 1} for row in FOUND]
    assert "the ids (1 to 3) look one too high: subtract 1" in refusal(tmp_path / "a.json", rows)


def test_repeated_rows(tmp_path: Path) -> None:
    rows = [*FOUND, FOUND[5], FOUND[5], FOUND[7]]
    message = refusal(tmp_path / "a.json", rows)
    count = len(FOUND)
    assert message.startswith(
        f"{count}: the same image, class, box and score as row 5 (3 of {count + 3} rows"
    )
    assert message.endswith("remove them or add --drop-duplicates")
    assert read_results(tmp_path / "a.json", TRUTH, drop_duplicates=True) == FOUND
    almost = [*FOUND, FOUND[5] | {"score": FOUND[5]["score"] / 2}]
    assert read_results(write(tmp_path / "b.json", almost), TRUTH) == almost


@settings(max_examples=60, deadline=None)
@given(coco_cases(distinct_scores=True))
def test_results_in_the_right_convention_pass_but_for_repeats_and_bad_luck(case: Any) -> None:
    ground_truth, predictions = case
    message = said(lambda: check_results(predictions, ground_truth, where="a"))
    # Eight rows of tall boxes at the top left can look like anything.
    assert message is None or "empty list" in message or "[x1, y1, x2, y2]" in message or "leave" in message


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 1.0), st.floats(0.0, 1.0), st.integers(0, 6))
def test_poor_detectors_are_no_bad_input(seed: int, jitter: float, recall: float, clutter: int) -> None:
    truth = scenes(20, seed=seed)
    rows = detector(truth, jitter=jitter, recall=recall, clutter=clutter, seed=seed)
    inside = [min(r["bbox"][k] + r["bbox"][k + 2] for k in (0, 1)) > 0 for r in rows]
    rows = [r for r, ok in zip(rows, inside, strict=True) if ok and max(r["bbox"][:2]) < SIDE]
    if rows:
        assert check_results(rows, truth, where="a") == rows


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["image_id", "category_id", "bbox", "score", "annotations"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(value=JSON)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = write(tmp_path_factory.mktemp("json") / "a.json", value)
    reads = partial(read_results, path, TRUTH), partial(read_results, path), partial(read_ground_truth, path)
    for read in reads:
        message = said(read)
        assert message is None or message.startswith(str(path))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["image_id", "category_id", "bbox", "score"]), JSON)
def test_any_value_in_a_row_is_read_or_refused(key: str, value: object) -> None:
    rows = changed(**{key: value})
    message = said(lambda: check_results(rows, TRUTH, where="a.json"))
    assert message is None or message.startswith("a.json: 3")
    if message is None:
        evaluate_coco(TRUTH, rows)


def test_ground_truth(tmp_path: Path) -> None:
    assert read_ground_truth(write(tmp_path / "gt.json", TRUTH)) == TRUTH
    for value, message in (
        ([], "holds a list; --annotations takes a COCO dictionary"),
        ({"images": []}, "images = []: list should have at least 1 item"),
        (TRUTH | {"categories": [{"id": 0, "name": "a"}]}, "annotations.0: category_id ="),
        (TRUTH | {"images": TRUTH["images"] * 2}, "image id 0 occurs twice"),
    ):
        path = write(tmp_path / "bad.json", value)
        with pytest.raises(DataError) as caught:
            read_ground_truth(path)
        assert str(caught.value).startswith(f"{path}: {message}")
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        read_ground_truth(tmp_path / "none.json")


def test_a_large_file_is_checked_as_columns() -> None:
    truth = scenes(2000, seed=3)
    rows = detector(truth, jitter=0.1, clutter=50)
    started = time.process_time()
    assert len(check_results(rows, truth, where="a")) == len(rows) > 100_000
    assert time.process_time() - started < 30  # below a second; row by row it would still pass, but not twice
