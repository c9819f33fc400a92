"""Results and ground truth of any tool, from COCO JSON files; what is wrong is said in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taco_kd.errors import DataError
from taco_kd.evaluate.coco_rows import refuse_row
from taco_kd.evaluate.columns import ResultColumns, index_of
from taco_kd.evaluate.inputs import refuse_outside
from taco_kd.evaluate.plausible import refuse_implausible
from taco_kd.evaluate.truth import TruthColumns, check_ground_truth
from taco_kd.files import read_json

Rows = list[dict[str, Any]]

_HOW = "a COCO results file is a list of {image_id, category_id, bbox: [x, y, width, height], score}"


def read_ground_truth(path: Path) -> dict[str, Any]:
    """The COCO dictionary in ``path``, checked.

    Raises:
        DataError: no such file, not COCO, repeated or unknown ids, an empty or non-finite box.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError(
            f"{path}: holds {_kind(value)}; --annotations takes a COCO dictionary "
            "with images, categories and annotations"
        )
    check_ground_truth(value, where=str(path))
    return value


def read_results(
    path: Path, ground_truth: Mapping[str, Any] | None = None, *, drop_duplicates: bool = False
) -> Rows:
    """The rows of a COCO results file; of a dictionary, those in its ``annotations``.

    Rows that are repeated exactly (image, class, box and score) are refused: they come from files that were
    joined twice, and every copy but one counts as an error.

    Args:
        path: the JSON file.
        ground_truth: what the rows are checked against: ids, boxes inside their images, the convention of
            the boxes. Without it only what the file alone gives away is checked.
        drop_duplicates: leave repeated rows out instead of refusing the file.

    Raises:
        DataError: the line names the file, the row counted from 0, the value and the way out.
    """
    value = read_json(path)
    rows = _rows(value, path)
    return check_results(rows, ground_truth, where=str(path), drop_duplicates=drop_duplicates)


def check_results(
    rows: Rows, ground_truth: Mapping[str, Any] | None, *, where: str, drop_duplicates: bool = False
) -> Rows:
    """``rows`` if they can be evaluated; see :func:`read_results`.

    Raises:
        DataError: see :func:`read_results`.
    """
    if not rows:
        raise DataError(f"{where}: an empty list: there is nothing to evaluate; {_HOW}")
    columns = ResultColumns.read(rows)
    if columns is None:
        _explain(rows, ground_truth, where)
        columns = ResultColumns.read([_plain(row) for row in rows])
        assert columns is not None, "rows that pass the checks have plain values"
    repeated = _repeats(columns)
    if len(repeated) and not drop_duplicates:
        first, again = repeated[0]
        raise DataError(
            f"{where}: {again}: the same image, class, box and score as row {first} "
            f"({len(repeated):,} of {len(rows):,} rows are repeated); remove them or add --drop-duplicates"
        )
    if ground_truth is not None:
        truth = check_ground_truth(ground_truth)
        _refuse_foreign(columns, truth, where)
        refuse_implausible(columns, truth, where=where)
        refuse_outside(where, columns, truth)
    gone = {again for _, again in repeated}
    return [row for number, row in enumerate(rows) if number not in gone] if gone else rows


def _rows(value: Any, path: Path) -> Rows:
    if isinstance(value, dict):
        if not isinstance(value.get("annotations"), list):
            keys = ", ".join(list(map(str, value))[:5]) or "nothing"
            raise DataError(f"{path}: a dictionary with {keys} and no list of annotations; {_HOW}")
        value = value["annotations"]
        if value and isinstance(value[0], dict) and "score" not in value[0]:
            raise DataError(
                f"{path}: annotations.0 has no score: this looks like a ground truth; give it as "
                "--annotations, and the detector's results as the model"
            )
    if not isinstance(value, list):
        raise DataError(f"{path}: holds {_kind(value)}; {_HOW}")
    return value


def _explain(rows: Sequence[Any], ground_truth: Mapping[str, Any] | None, where: str) -> None:
    """Refuse the first row that is no result; returns if all are, in an unusual type of number.

    Raises:
        DataError: always, but for rows with a subclass of int or float.
    """
    names = {c["name"]: c["id"] for c in ground_truth["categories"]} if ground_truth else {}
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"{where}: {number}: holds {_kind(row)}; {_HOW}")
        category = row.get("category_id")
        if isinstance(category, str) and category in names:
            raise DataError(
                f"{where}: {number}.category_id = {category!r} is the name of a class; write its id "
                f"({names[category]})"
            )
        _refuse_negative_size(number, row.get("bbox"), where)
        refuse_row(row, f"{where}: {number}")


def _refuse_negative_size(number: int, bbox: object, where: str) -> None:
    if isinstance(bbox, (list, tuple)) and len(bbox) == 4:
        sizes = [v for v in bbox[2:] if isinstance(v, (int, float)) and v < 0]
        if sizes:
            raise DataError(
                f"{where}: {number}.bbox = {list(bbox)}: width or height {sizes[0]:g} is negative; "
                "boxes must be [x, y, width, height]"
            )


def _refuse_foreign(columns: ResultColumns, truth: TruthColumns, where: str) -> None:
    """Refuse results of other images or classes, told from single wrong ids."""
    images = truth.image_ids
    unknown = index_of(columns.image_ids, images) < 0
    if unknown.all():
        raise DataError(
            f"{where}: 0: image_id = {columns.image_ids[0]}: none of its image ids is in the ground truth "
            f"({len(images):,} images, {images[0]} to {images[-1]}): results on other images; "
            "evaluate them with the annotations they belong to"
        )
    if unknown.any():
        row = int(unknown.argmax())
        raise DataError(
            f"{where}: {row}: image_id = {columns.image_ids[row]}: the ground truth has no such image "
            f"({int(unknown.sum()):,} of {len(columns):,} rows); evaluate with the annotations they belong to"
        )
    categories = np.sort(np.array(truth.category_ids, dtype=np.int64))
    unknown = index_of(columns.category_ids, categories) < 0
    if unknown.any():
        row = int(unknown.argmax())
        used = np.unique(columns.category_ids)
        raise DataError(
            f"{where}: {row}: category_id = {columns.category_ids[row]}: the ground truth has "
            f"{len(categories)} categories, {categories[0]} to {categories[-1]}, and not this one"
            f"{_shift(used, categories)}"
        )


def _shift(used: Any, categories: Any) -> str:
    """A hint where all ids would fit after adding or taking away one."""
    for by, words in ((-1, "one too high: subtract 1"), (1, "one too low: add 1")):
        if (index_of(used + by, categories) >= 0).all():
            return f"; the ids ({used[0]} to {used[-1]}) look {words}"
    return "; map the detector's classes to the ground truth's ids"


def _repeats(columns: ResultColumns) -> list[tuple[int, int]]:
    """(first row, repeated row) of rows that equal an earlier one, by the repeated row."""
    bits = columns.boxes_xywh.view(np.int64), columns.scores.view(np.int64)
    table = np.column_stack([columns.image_ids, columns.category_ids, *bits])
    order = np.lexsort((np.arange(len(table)), *table.T[::-1]))
    equal = (table[order[1:]] == table[order[:-1]]).all(axis=1)
    if not equal.any():
        return []
    starts = np.concatenate([[0], np.flatnonzero(~equal) + 1])
    first = order[starts[np.searchsorted(starts, np.arange(len(order)), side="right") - 1]]
    found = [(int(first[i + 1]), int(order[i + 1])) for i in np.flatnonzero(equal)]
    return sorted(found, key=lambda pair: pair[1])


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "image_id": int(row["image_id"]),
        "category_id": int(row["category_id"]),
        "bbox": [float(value) for value in row["bbox"]],
        "score": float(row["score"]),
    }


def _kind(value: object) -> str:
    names = {dict: "a dictionary", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)
