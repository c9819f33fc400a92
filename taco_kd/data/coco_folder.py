"""A folder with one COCO file for each part, in the layouts that people publish.

``annotations/instances_train2017.json`` beside ``train2017/`` (COCO), ``annotations/train.json`` beside
``images/train/`` (what taco-kd prepares), ``train/_annotations.coco.json`` beside its images (Roboflow).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from taco_kd.data.coco import read_coco
from taco_kd.data.records import Finding, ImageRecord, Part, RawDataset
from taco_kd.errors import DataError

_PARTS: dict[str, Part] = {"train": "train", "val": "val", "valid": "val", "test": "test"}


@dataclass(frozen=True)
class CocoPart:
    """One COCO file, its images, and the part that its name says."""

    part: Part
    annotations: Path
    images: Path


def coco_parts(root: Path) -> list[CocoPart]:
    """The COCO files of a folder, train first; empty when it has none of the layouts."""
    found: dict[Part, CocoPart] = {}
    for file in sorted((root / "annotations").glob("*.json")):
        stem = file.stem.removeprefix("instances_")
        word = stem.rstrip("0123456789_-")
        if word in _PARTS:
            places = [
                root / stem,
                root / "images" / stem,
                root / word,
                root / "images" / word,
                root / "images",
            ]
            folder = next((place for place in places if place.is_dir()), None)
            if folder is not None:
                found.setdefault(_PARTS[word], CocoPart(_PARTS[word], file, folder))
    for name, part in _PARTS.items():
        file = root / name / "_annotations.coco.json"
        if file.is_file():
            found.setdefault(part, CocoPart(part, file, file.parent))
    order: tuple[Part, ...] = ("train", "val", "test")
    return [found[part] for part in order if part in found]


def read_coco_folder(root: Path, *, clip_boxes: bool = False, skip_missing: bool = False) -> RawDataset:
    """All parts of the folder as one dataset, whose images know their part.

    Ids that two files share are given anew to the images and annotations of the later file.

    Raises:
        DataError: another layout, parts with different categories, or see ``read_coco``.
    """
    parts = coco_parts(root)
    if not parts:
        raise DataError(
            f"{root}: no COCO dataset: it holds no annotations/*train*.json beside its images and no "
            "train/_annotations.coco.json; name them with --images and --annotations"
        )
    images: list[ImageRecord] = []
    first: RawDataset | None = None
    findings: list[Finding] = []
    for place in parts:
        raw = read_coco(place.annotations, place.images, clip_boxes=clip_boxes, skip_missing=skip_missing)
        first = first or raw
        if raw.categories != first.categories:
            raise DataError(f"{place.annotations}: other categories than in {parts[0].annotations}")
        prefix = place.images.relative_to(root).as_posix()
        images += [
            replace(image, file_name=f"{prefix}/{image.file_name}", part=place.part)
            for image in _distinct(raw.images, images)
        ]
        findings += raw.findings
    assert first is not None
    return replace(
        first,
        images=tuple(sorted(images, key=lambda image: image.id)),
        findings=tuple(findings),
        more_files=tuple(place.annotations for place in parts[1:]),
    )


def _distinct(images: tuple[ImageRecord, ...], others: list[ImageRecord]) -> list[ImageRecord]:
    taken = {image.id for image in others}
    taken_boxes = {a.id for image in others for a in image.annotations}
    shift = max(taken) + 1 if taken & {image.id for image in images} else 0
    boxes = {a.id for image in images for a in image.annotations}
    box_shift = max(taken_boxes) + 1 if taken_boxes & boxes else 0
    return [
        replace(
            image,
            id=image.id + shift,
            annotations=tuple(replace(a, id=a.id + box_shift) for a in image.annotations),
        )
        for image in images
    ]
