"""The schema of COCO dictionaries and results, for naming what is wrong with a row: slow, so only then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from taco_kd.errors import DataError

T = TypeVar("T")

Id = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Length = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
BoxXYWH = tuple[Finite, Finite, Length, Length]


class _Image(BaseModel):
    id: Id
    width: Length | None = None
    height: Length | None = None
    original_width: Length | None = None
    original_height: Length | None = None
    content_width: Length | None = None
    content_height: Length | None = None


class _Category(BaseModel):
    id: Id
    name: str


class _Box(BaseModel):
    id: Id
    image_id: Id
    category_id: Id
    bbox: BoxXYWH
    area: Length | None = None
    iscrowd: Annotated[int, Field(ge=0, le=1)] = 0


class _GroundTruth(BaseModel):
    images: Annotated[list[_Image], Field(min_length=1)]
    categories: Annotated[list[_Category], Field(min_length=1)]
    annotations: list[_Box]


class _Prediction(BaseModel):
    image_id: Id
    category_id: Id
    bbox: BoxXYWH
    score: Finite


_GROUND_TRUTH = TypeAdapter(_GroundTruth)
_PREDICTIONS = TypeAdapter(list[_Prediction])
_PREDICTION = TypeAdapter(_Prediction)


def plain_truth(ground_truth: object, where: str) -> dict[str, Any]:
    """The COCO dictionary in plain Python values, without keys that metrics do not need.

    Raises:
        DataError: it is no COCO ground truth; the message names ``where``, the key and the value.
    """
    return parse(_GROUND_TRUTH, ground_truth, where).model_dump(exclude_none=True)


def plain_results(rows: object, where: str) -> list[dict[str, Any]]:
    """COCO results in plain Python values.

    Raises:
        DataError: a row is no result; the message names ``where``, the row, the key and the value.
    """
    return [row.model_dump() for row in parse(_PREDICTIONS, rows, where)]


def refuse_row(row: Mapping[str, Any], where: str) -> None:
    """Refuse one row of results if it is wrong.

    Raises:
        DataError: the message names ``where``, the key and the value.
    """
    try:
        _PREDICTION.validate_python(row)
    except ValidationError as error:
        raise DataError(f"{where}.{_words(error)}") from None


def parse(kind: TypeAdapter[T], value: object, where: str) -> T:
    """``value`` as the type of ``kind``.

    Raises:
        DataError: it does not fit; the message names ``where``, the key, the value and what is wrong.
    """
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise DataError(f"{where}: {_words(error)}".replace(":  =", " =")) from None


def _words(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    received = repr(first["input"])
    if len(received) > 80:
        received = received[:77] + "..."
    missing = first["type"] == "missing"
    problem = "is missing" if missing else f"= {received}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return f"{key} {problem}"


def first_repeat(values: Sequence[int]) -> int | None:
    """The first value that was there before, or None."""
    seen: set[int] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
