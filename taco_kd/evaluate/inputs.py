"""COCO dictionaries, checked once and copied: the evaluators behind us write into what they are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from taco_kd.errors import DataError

T = TypeVar("T")

Id = Annotated[int, Field(strict=True)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Length = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
BoxXYWH = tuple[Finite, Finite, Length, Length]


class _Image(BaseModel):
    id: Id
    width: Length | None = None
    height: Length | None = None


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


@dataclass(frozen=True)
class CocoInput:
    """Ground truth and predictions as two COCO datasets that share images and categories.

    Attributes:
        images: ids, ascending.
        categories: id to name, in the order of the ground truth.
        ground_truth: COCO dataset; annotations have ids from 1, ``area`` and ``iscrowd``.
        predictions: COCO dataset whose annotations are the predictions, with ``score``.
        area_space: in which pixels the areas are, for people.
    """

    images: tuple[int, ...]
    categories: dict[int, str]
    ground_truth: dict[str, Any]
    predictions: dict[str, Any]
    area_space: str


def check_coco(
    ground_truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], *, where: str = "predictions"
) -> CocoInput:
    """Check a COCO ground truth and a COCO results list against each other; returns copies.

    Annotations are numbered anew from 1, because both evaluators take an id of 0 for "not matched".

    Raises:
        DataError: a missing key, a score or box that is not finite, a negative width or height, an unknown
            or repeated id, an empty box in the ground truth, a prediction entirely outside its image. The
            message names ``where`` and the index of the entry.
    """
    truth = parse(_GROUND_TRUTH, ground_truth, "ground truth")
    found = parse(_PREDICTIONS, predictions, where)
    for what, ids in (
        ("image", [i.id for i in truth.images]),
        ("category", [c.id for c in truth.categories]),
        ("annotation", [a.id for a in truth.annotations]),
    ):
        _refuse_repeats(what, ids)
    images = {image.id: image for image in truth.images}
    categories = {category.id: category.name for category in truth.categories}

    for index, box in enumerate(truth.annotations):
        _refuse_unknown(f"ground truth: annotations.{index}", box, images, categories)
        if box.bbox[2] == 0 or box.bbox[3] == 0:
            raise DataError(f"ground truth: annotations.{index}: bbox = {list(box.bbox)}: the box is empty")
    for index, hit in enumerate(found):
        _refuse_unknown(f"{where}: {index}", hit, images, categories)
        _refuse_outside(f"{where}: {index}", hit.bbox, images[hit.image_id])

    shared = {
        "images": [image.model_dump() for image in truth.images],
        "categories": [category.model_dump() for category in truth.categories],
    }
    boxes = [
        _annotation(number, box, area=box.area, iscrowd=box.iscrowd)
        for number, box in enumerate(truth.annotations, start=1)
    ]
    hits = [
        _annotation(number, hit, area=None, iscrowd=0) | {"score": hit.score}
        for number, hit in enumerate(found, start=1)
    ]
    return CocoInput(
        images=tuple(sorted(images)),
        categories=categories,
        ground_truth=shared | {"annotations": boxes},
        predictions=shared | {"annotations": hits},
        area_space=_area_space(truth.images),
    )


def parse(kind: TypeAdapter[T], value: object, where: str) -> T:
    """``value`` as the type of ``kind``.

    Raises:
        DataError: it does not fit; the message names ``where``, the key, the value and what is wrong.
    """
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        received = repr(first["input"])
        if len(received) > 80:
            received = received[:77] + "..."
        missing = first["type"] == "missing"
        problem = "is missing" if missing else f"= {received}: {first['msg'][:1].lower()}{first['msg'][1:]}"
        raise DataError(f"{where}: {key} {problem}".replace(":  =", " =")) from None


def _refuse_repeats(what: str, ids: Iterable[int]) -> None:
    seen: set[int] = set()
    for each in ids:
        if each in seen:
            raise DataError(f"ground truth: {what} id {each} occurs twice; ids must be unique")
        seen.add(each)


def _refuse_unknown(
    where: str, box: _Box | _Prediction, images: Mapping[int, _Image], categories: Mapping[int, str]
) -> None:
    if box.image_id not in images:
        raise DataError(f"{where}: image_id = {box.image_id}: the ground truth has no such image")
    if box.category_id not in categories:
        ids = sorted(categories)
        raise DataError(
            f"{where}: category_id = {box.category_id}: the ground truth has {len(ids)} categories, "
            f"{ids[0]} to {ids[-1]}, and not this one"
        )


def _refuse_outside(where: str, bbox: BoxXYWH, image: _Image) -> None:
    # Boxes in pixels of the original photo instead of the prepared image show up here.
    if image.width is None or image.height is None:
        return
    x, y, width, height = bbox
    if x > image.width or y > image.height or x + width < 0 or y + height < 0:
        raise DataError(
            f"{where}: bbox = {list(bbox)}: entirely outside image {image.id} "
            f"({image.width:g}x{image.height:g}); "
            "boxes must be [x, y, width, height] in pixels of the prepared image"
        )


def _annotation(number: int, box: _Box | _Prediction, *, area: float | None, iscrowd: int) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": box.image_id,
        "category_id": box.category_id,
        "bbox": list(box.bbox),
        "area": box.bbox[2] * box.bbox[3] if area is None else area,
        "iscrowd": iscrowd,
    }


def _area_space(images: Sequence[_Image]) -> str:
    sizes = {(image.width, image.height) for image in images}
    if len(sizes) == 1:
        width, height = sizes.pop()
        if width is not None and height is not None:
            return f"{width:g}x{height:g} pixels of the prepared image"
    return "pixels of the prepared images"
