"""YOLO datasets: a text file of normalised boxes, or polygons, beside each image.

A line is ``class x_centre y_centre width height``, or ``class x1 y1 x2 y2 x3 y3 ...`` of a polygon, all as
fractions of the upright image. Format: https://docs.ultralytics.com/datasets/detect/ and /segment/.
"""

from __future__ import annotations

import math
from pathlib import Path

from taco_kd.data.bounds import fitted, with_box
from taco_kd.data.headers import upright_size
from taco_kd.data.records import Annotation, Category, Finding, ImageRecord, Part, Polygon, RawDataset
from taco_kd.data.yolo_layout import YoloLayout, read_layout
from taco_kd.errors import DataError


def read_yolo(root: Path, *, clip_boxes: bool = False) -> RawDataset:
    """The dataset in ``root``. Images without a label file are taken as images without objects; a part in
    which no image has one is left out, with a finding.

    Image ids are the file names where all of these are different numbers, else 0, 1, ... in the order of the
    paths; class ids are YOLO's.

    Raises:
        DataError: another layout, a label that is not one (named by file and line), a box outside its image.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    layout = read_layout(root)
    findings = list(layout.findings)
    images = sorted(
        _labelled(layout, findings), key=lambda image: image[0].relative_to(layout.base).as_posix()
    )
    if not any(label for _, label, _ in images):
        raise DataError(f"{layout.files[0]}: not one of {len(layout.images)} images has a label file")
    ids = image_ids([path for path, _, _ in images])
    records, count = [], 0
    for image_id, (path, label, part) in sorted(zip(ids, images, strict=True), key=lambda entry: entry[0]):
        size = upright_size(path)
        boxes = _read_labels(label, size, layout, clip_boxes, findings, count) if label else ()
        count += len(boxes)
        name = path.relative_to(layout.base).as_posix()
        records.append(ImageRecord(image_id, name, path, *size, boxes, part))
    if not count:
        raise DataError(f"{layout.files[0]}: not one usable label in {len(records)} images")
    return RawDataset(
        images=tuple(records),
        categories=tuple(Category(i, name, "") for i, name in enumerate(layout.names)),
        annotations_file=layout.files[0],
        findings=tuple(findings),
        more_files=(*layout.files[1:], *(label for _, label, _ in images if label)),
    )


def image_ids(paths: list[Path]) -> list[int]:
    """An id for each path: its stem where all stems are different plain numbers, else its place."""
    stems = [path.stem for path in paths]
    numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdigit() and len(stem) <= 12]
    return numbers if len(set(numbers)) == len(paths) else list(range(len(paths)))


def label_file(image: Path, base: Path) -> Path:
    """Where the labels of an image are: in ``labels`` for the last ``images``, else beside it."""
    folders = list(image.relative_to(base).parts)
    places = [k for k, folder in enumerate(folders[:-1]) if folder == "images"]
    if places:
        folders[places[-1]] = "labels"
    elif base.name == "images":
        return (base.parent / "labels").joinpath(*folders).with_suffix(".txt")
    return base.joinpath(*folders).with_suffix(".txt")


def _labelled(layout: YoloLayout, findings: list[Finding]) -> list[tuple[Path, Path | None, Part | None]]:
    found: dict[Part | None, list[tuple[Path, Path | None, Part | None]]] = {}
    for image, part in layout.images:
        label = label_file(image, layout.base)
        if not label.is_file() and image.with_suffix(".txt").is_file():
            label = image.with_suffix(".txt")
        found.setdefault(part, []).append((image, label if label.is_file() else None, part))
    kept = []
    for part, images in found.items():
        without = sum(label is None for _, label, _ in images)
        if without == len(images) and len(found) > 1:
            line = f"{part} is left out: none of its {len(images)} images has a label file"
            findings.append(Finding("unlabelled_part", line))
            continue
        if without:
            line = (
                f"{without} of {len(images)} images of {part or 'the dataset'} have no label file: no objects"
            )
            findings.append(Finding("no_label_file", line))
        kept += images
    return kept


def _read_labels(
    file: Path, size: tuple[int, int], layout: YoloLayout, clip: bool, findings: list[Finding], first_id: int
) -> tuple[Annotation, ...]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    found: list[Annotation] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        who = f"{file}:{number}"
        annotation = parse_line(line, size, len(layout.names), who=who, number=first_id + len(found))
        inside = fitted(annotation, size, who=with_box(who, annotation), clip_boxes=clip, findings=findings)
        if inside is not None:
            found.append(inside)
    return tuple(found)


def parse_line(line: str, size: tuple[int, int], classes: int, *, who: str, number: int) -> Annotation:
    """One line as an annotation with the id ``number``, in pixels of an image of ``size`` (width, height).

    Raises:
        DataError: it is not a label of one of ``classes`` classes; begins with ``who``.
    """
    words = line.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise DataError(f"{who}: {_short(line)} is not made of numbers") from None
    if not all(math.isfinite(value) for value in values):
        raise DataError(f"{who}: {_short(line)} holds a number that is not finite")
    if not (values[0].is_integer() and 0 <= values[0] < classes):
        raise DataError(f"{who}: class {words[0]} is not one of 0 to {classes - 1}")
    fractions = values[1:]
    if len(fractions) != 4 and (len(fractions) < 6 or len(fractions) % 2):
        raise DataError(
            f"{who}: {len(words)} numbers; a label is a class and 4 of a box, or a class and 3 or more points"
        )
    if (odd := next((v for v in fractions if not -0.5 <= v <= 1.5), None)) is not None:
        raise DataError(f"{who}: {odd:g} is no fraction of the image; YOLO labels lie in 0 to 1")
    width, height = size
    polygons: tuple[Polygon, ...] = ()
    if len(fractions) == 4:
        x, y, w, h = fractions
        if w < 0 or h < 0:
            raise DataError(f"{who}: width {w:g} and height {h:g} must not be negative")
        box = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
        area = box[2] * box[3]
    else:
        points = tuple(v * (height if k % 2 else width) for k, v in enumerate(fractions))
        left, top = min(points[::2]), min(points[1::2])
        box = (left, top, max(points[::2]) - left, max(points[1::2]) - top)
        polygons, area = (points,), polygon_area(points)
    return Annotation(number, int(values[0]), box, polygons, area, 0)


def polygon_area(points: Polygon) -> float:
    """Area of a simple polygon x0, y0, x1, y1, ... by the shoelace formula."""
    xs, ys = points[::2], points[1::2]
    twice = sum(xs[k - 1] * ys[k] - xs[k] * ys[k - 1] for k in range(len(xs)))
    return abs(twice) / 2


def _short(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:77] + "...")
