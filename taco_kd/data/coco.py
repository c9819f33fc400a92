"""COCO annotation files, checked from end to end before any image is opened."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from taco_kd.data.bounds import fitted
from taco_kd.data.coco_schema import CocoAnnotation, CocoFile, CocoImage, licences, parse
from taco_kd.data.records import Annotation, Category, Finding, ImageRecord, RawDataset
from taco_kd.errors import DataError
from taco_kd.files import read_json


def read_coco(
    annotations: Path, images: Path, *, clip_boxes: bool = False, skip_missing: bool = False
) -> RawDataset:
    """The dataset in a COCO file whose ``file_name`` entries are relative to the folder ``images``.

    Annotation ids that were given twice are replaced, masks that are not polygons are left out; both are
    findings. ``clip_boxes`` also repairs boxes that leave their image by more than ``TOLERATED_PX`` and drops
    those of which nothing is left, with a finding for each. ``skip_missing`` leaves images without a file
    out, with a finding for each.

    Raises:
        DataError: anything that is not COCO or does not agree with itself, or an image file that is missing.
    """
    document = read_json(annotations)
    file = parse(document, where=annotations)
    findings: list[Finding] = []
    _check_references(file, annotations)
    by_image: defaultdict[int, list[Annotation]] = defaultdict(list)
    sizes = {image.id: image for image in file.images}
    for number, entry in _with_unique_ids(file.annotations, findings):
        if inside := _inside(entry, number, sizes[entry.image_id], annotations, clip_boxes, findings):
            by_image[entry.image_id].append(inside)
    paths = {image.id: _path(images, image, annotations) for image in file.images}
    records = tuple(
        ImageRecord(
            i.id, i.file_name, paths[i.id], i.width, i.height, tuple(by_image.get(i.id, ())), facts=i.facts
        )
        for i in sorted(file.images, key=lambda image: image.id)
    )
    if not by_image:
        raise DataError(f"{annotations}: not one usable annotation in {len(records)} images")
    records = _with_files(records, images, findings, skip_missing)
    categories = tuple(Category(c.id, c.name, c.supercategory or "") for c in file.categories)
    info = document.get("info")
    description = info.get("description") if isinstance(info, dict) else None
    return RawDataset(
        images=records,
        categories=categories,
        annotations_file=annotations,
        description=description if isinstance(description, str) else "",
        findings=tuple(findings),
        licences=licences(document),
    )


def _check_references(file: CocoFile, where: Path) -> None:
    for name, entries in (("image", file.images), ("category", file.categories)):
        if not entries:
            raise DataError(f"{where}: it lists no {name}")
        if (twice := _repeated(entry.id for entry in entries)) is not None:
            raise DataError(f"{where}: {name} id {twice} is used twice; ids must be unique")
    if (twice := _repeated(category.name for category in file.categories)) is not None:
        raise DataError(f"{where}: two categories are named {twice!r}; rename one")
    image_ids = {image.id for image in file.images}
    category_ids = {category.id for category in file.categories}
    for entry in file.annotations:
        if entry.image_id not in image_ids:
            raise DataError(f"{where}: annotation id {entry.id}: no image has the id {entry.image_id}")
        if entry.category_id not in category_ids:
            raise DataError(f"{where}: annotation id {entry.id}: no category has the id {entry.category_id}")


def _repeated(values: Iterable[Hashable]) -> Hashable | None:
    return next((value for value, count in Counter(values).items() if count > 1), None)


def _with_unique_ids(
    entries: list[CocoAnnotation], findings: list[Finding]
) -> Iterable[tuple[int, CocoAnnotation]]:
    """Each annotation with its id, or a new one above all others where the id was taken."""
    spare = max((entry.id for entry in entries), default=0) + 1
    taken: set[int] = set()
    for entry in entries:
        number = entry.id
        if number in taken:
            number, spare = spare, spare + 1
            line = f"annotation id {entry.id} is taken; the one of image {entry.image_id} is now {number}"
            findings.append(Finding("repeated_annotation_id", line, annotation_id=entry.id))
        taken.add(number)
        yield number, entry


def _inside(
    entry: CocoAnnotation,
    number: int,
    image: CocoImage,
    where: Path,
    clip_boxes: bool,
    findings: list[Finding],
) -> Annotation | None:
    """The annotation, clipped to its image where that is allowed; None when nothing was left of it."""
    x, y, w, h = entry.bbox
    bbox = f"[{x:g}, {y:g}, {w:g}, {h:g}]"
    polygons = _polygons(entry, findings)
    area = w * h if entry.area is None else entry.area
    whole = Annotation(number, entry.category_id, (x, y, w, h), polygons, max(area, 0.0), entry.iscrowd)
    return fitted(
        whole,
        (image.width, image.height),
        who=f"{where}: annotation id {entry.id}: bbox {bbox} of {image.file_name!r}",
        clip_boxes=clip_boxes,
        findings=findings,
        found=f"annotation id {entry.id}: {bbox}",
        file_name=image.file_name,
        annotation_id=entry.id,
    )


def _polygons(entry: CocoAnnotation, findings: list[Finding]) -> tuple[tuple[float, ...], ...]:
    if isinstance(entry.segmentation, dict):
        line = f"annotation id {entry.id}: run-length mask left out, only polygons are kept"
        findings.append(Finding("mask_left_out", line, annotation_id=entry.id))
        return ()
    polygons = entry.segmentation or []
    usable = tuple(tuple(p) for p in polygons if len(p) >= 6 and len(p) % 2 == 0)
    if len(usable) < len(polygons):
        line = f"annotation id {entry.id}: polygon without three points or with half a point left out"
        findings.append(Finding("mask_left_out", line, annotation_id=entry.id))
    return usable


def _path(folder: Path, image: CocoImage, where: Path) -> Path:
    name = image.file_name
    pure = PurePosixPath(name)
    depth = 0
    for part in pure.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            break
    control = any(ord(character) < 32 for character in name)
    if depth < 1 or pure.is_absolute() or PureWindowsPath(name).anchor or control:
        raise DataError(f"{where}: image id {image.id}: file_name {name!r} does not stay in the image folder")
    return folder / name


def _with_files(
    records: tuple[ImageRecord, ...], folder: Path, findings: list[Finding], skip_missing: bool
) -> tuple[ImageRecord, ...]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images")
    missing = [record for record in records if not record.path.is_file()]
    if missing and (not skip_missing or len(missing) == len(records)):
        count = f"{len(missing)} of {len(records)} images are missing"
        advice = "complete the folder or its JSON, or go on without them: --quarantine"
        raise DataError(f"{missing[0].path}: no such file ({count}); {advice}")
    findings += [Finding("quarantined", f"{r.path}: no such file", r.file_name) for r in missing]
    gone = {record.id for record in missing}
    return tuple(record for record in records if record.id not in gone)
