"""The parts of a COCO file that we read, with their types checked by pydantic.

Format: https://cocodataset.org/#format-data. Keys that are not listed here are ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from taco_kd.errors import DataError

REQUIRED_KEYS = ("images", "annotations", "categories")
PASSED_ON = ("license", "flickr_url", "coco_url", "date_captured")


def _whole(value: object) -> object:
    """COCO writers in dynamic languages store 640 as 640.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flag(value: object) -> object:
    return int(value) if isinstance(value, bool) else value


# JSON readers agree on integers up to 2^53 only.
Id = Annotated[int, BeforeValidator(_whole), Field(ge=0, lt=2**53)]
Side = Annotated[int, BeforeValidator(_whole), Field(gt=0, le=1_000_000)]
# Finite, and small enough that no product of two of them overflows.
Pixels = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class CocoImage(_Part):
    id: Id
    file_name: Annotated[str, Field(min_length=1)]
    width: Side
    height: Side
    license: object = None
    flickr_url: object = None
    coco_url: object = None
    date_captured: object = None

    @property
    def facts(self) -> dict[str, object]:
        """What is passed on unread: licence, addresses, time; only plain values that are there."""
        values = {key: getattr(self, key) for key in PASSED_ON}
        return {key: value for key, value in values.items() if isinstance(value, str | int) and value != ""}


class CocoCategory(_Part):
    id: Id
    name: Annotated[str, Field(min_length=1)]
    supercategory: str | None = None


class CocoAnnotation(_Part):
    id: Id
    image_id: Id
    category_id: Id
    bbox: Annotated[list[Pixels], Field(min_length=4, max_length=4)]
    segmentation: list[list[Pixels]] | dict[str, Any] | None = None
    area: Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)] | None = None
    iscrowd: Annotated[int, BeforeValidator(_flag), BeforeValidator(_whole), Field(ge=0, le=1)] = 0


class CocoFile(_Part):
    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


def parse(document: object, *, where: Path) -> CocoFile:
    """``document``, a JSON value, as a COCO file.

    Raises:
        DataError: it is not one; the line names ``where``, the entry and the value.
    """
    if not isinstance(document, dict):
        raise DataError(
            f"{where}: not a COCO annotation file: a {type(document).__name__} instead of an object"
        )
    missing = [key for key in REQUIRED_KEYS if key not in document]
    if missing:
        raise DataError(f"{where}: not a COCO annotation file: no {', '.join(map(repr, missing))}")
    try:
        return CocoFile.model_validate(document)
    except ValidationError as error:
        raise DataError(f"{where}: {_explain(error, document)}") from None


def licences(document: dict[str, Any]) -> tuple[dict[str, object], ...]:
    """COCO's table of licences; entries that are not of its form are left out."""
    listed = document.get("licenses")
    return tuple(
        {key: entry[key] for key in ("id", "name", "url") if isinstance(entry.get(key), str | int)}
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("id"), int)
    )


def _explain(error: ValidationError, document: dict[str, Any]) -> str:
    """The first problem as one line such as ``annotation id 7: bbox = [1, 2]: ...``."""
    first = error.errors(include_url=False)[0]
    location = first["loc"]
    if len(location) < 2:
        return f"not a COCO annotation file: {location[0]!r} is not a list"
    section, index = str(location[0]), int(location[1])
    entry = document[section][index]
    name = section.removesuffix("s") if section != "categories" else "category"
    who = (
        f"{name} id {short(entry['id'])}"
        if isinstance(entry, dict) and "id" in entry
        else f"{section}[{index}]"
    )
    if len(location) < 3:
        return f"{who} is not an object"
    field = str(location[2])
    if field not in entry:
        return f"{who}: no {field!r}"
    return f"{who}: {field} = {short(entry[field])}: {first['msg'].lower()}"


def short(value: object) -> str:
    """A value of a file as it stands in a message: at most 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        return "a number too long to print"
    return text if len(text) <= 80 else text[:77] + "..."
