"""Pascal VOC: an XML file for each image.

Layout: ``JPEGImages/``, ``Annotations/`` and lists in ``ImageSets/Main/``, or images and XML files side by
side as annotation tools write them. Format: the VOC2012 development kit, http://host.robots.ox.ac.uk/pascal/VOC/voc2012/.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

from taco_kd.data.bounds import fitted, with_box
from taco_kd.data.headers import IMAGE_SUFFIXES, images_below, stays_inside, upright_size
from taco_kd.data.records import Annotation, Box, Category, Finding, ImageRecord, Part, RawDataset
from taco_kd.data.yolo import image_ids
from taco_kd.data.yolo_layout import part_of
from taco_kd.errors import DataError

ANNOTATIONS, IMAGES, SETS = "Annotations", "JPEGImages", Path("ImageSets") / "Main"
_PARTS: tuple[Part, ...] = ("train", "val", "test")


def read_voc(root: Path, *, clip_boxes: bool = False) -> RawDataset:
    """The dataset in ``root``: every image that has an XML file.

    Classes are the names that occur, sorted, as VOC numbers its own. VOC counts pixels from 1 and includes
    the last: a box from 1 to 10 has its left side at 0 and is 10 wide. Objects marked difficult become COCO's
    crowds, which neither training nor evaluation counts, as VOC has it.

    Raises:
        DataError: another layout, XML that is not such a file (named), an image that is missing.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    files = xml_files(root)
    if not files:
        raise DataError(f"{root}: not Pascal VOC's layout: no XML file in {ANNOTATIONS}/ or beside images")
    findings: list[Finding] = []
    parts = _parts(root)
    entries = [(file, _parse(file)) for file in files]
    images = [_image(file, tree, root) for file, tree in entries]
    names = sorted({name for file, tree in entries for name, _ in _objects(tree, file)})
    index = {name: i for i, name in enumerate(names)}
    records, count, difficult = [], 0, 0
    order = sorted(zip(image_ids(images), entries, images, strict=True), key=lambda entry: entry[0])
    for image_id, (file, tree), path in order:
        size = _size(tree, file) or upright_size(path)
        kept = []
        for name, element in _objects(tree, file):
            who = f"{file}: object {name!r}"
            box = _box(element, who)
            hard = (element.findtext("difficult") or "").strip() == "1"
            plain = Annotation(count, index[name], box, (), box[2] * box[3], int(hard))
            inside = fitted(plain, size, who=with_box(who, plain), clip_boxes=clip_boxes, findings=findings)
            if inside is not None:
                kept.append(inside)
                count, difficult = count + 1, difficult + hard
        name = path.relative_to(root).as_posix()
        part = parts.get(path.stem) if parts else part_of(path, root)
        records.append(ImageRecord(image_id, name, path, *size, tuple(kept), part))
    if not count:
        raise DataError(f"{root}: not one usable object in {len(files)} XML files")
    if difficult:
        line = f"{difficult} objects are marked difficult: kept as crowds, which are not counted"
        findings.append(Finding("difficult_objects", line))
    return RawDataset(
        images=tuple(records),
        categories=tuple(Category(i, name, "") for i, name in enumerate(names)),
        annotations_file=files[0],
        findings=tuple(findings),
        more_files=(*files[1:], *(file for part in _PARTS if (file := _set_file(root, part)).is_file())),
    )


def xml_files(root: Path) -> list[Path]:
    """The XML files of a dataset, sorted: those in ``Annotations``, else those that lie beside images."""
    if (root / ANNOTATIONS).is_dir():
        return sorted((root / ANNOTATIONS).glob("*.xml"))
    folders = {image.parent for image in images_below(root)}
    return sorted(file for file in root.rglob("*.xml") if file.parent in folders)


def _parts(root: Path) -> dict[str, Part]:
    """Part of each image by its stem, where ``ImageSets/Main`` says so."""
    found: dict[str, Part] = {}
    for part in _PARTS:
        file = _set_file(root, part)
        if not file.is_file():
            continue
        for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines():
            if line.strip() and found.setdefault(line.split()[0], part) != part:
                raise DataError(f"{file}: {line.split()[0]} is in {found[line.split()[0]]} too")
    return found


def _set_file(root: Path, part: Part) -> Path:
    return root / SETS / f"{part}.txt"


def _parse(file: Path) -> ElementTree.Element:
    content = file.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise DataError(f"{file}: declares a document type, which VOC's files do not; remove it")
    try:
        tree = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{file}: not valid XML ({error})") from None
    if tree.tag != "annotation":
        raise DataError(f"{file}: not Pascal VOC: its root is <{tree.tag}>, not <annotation>")
    return tree


def _image(file: Path, tree: ElementTree.Element, root: Path) -> Path:
    """The image that an XML file is about: its <filename>, or the file with the same stem."""
    folder = root / IMAGES if (root / IMAGES).is_dir() else file.parent
    if file.parent.name == ANNOTATIONS and folder == file.parent:
        folder = next((f for f in (root / "images", root / "Images") if f.is_dir()), root)
    name = (tree.findtext("filename") or "").strip()
    if name and (not stays_inside(name) or "/" in name.replace("\\", "/")):
        raise DataError(f"{file}: filename {name!r} is not the name of a file in the image folder")
    suffixes = [s for suffix in IMAGE_SUFFIXES for s in (suffix, suffix.upper())]
    choices = [folder / name] if name else []
    choices += [folder / f"{file.stem}{suffix}" for suffix in suffixes]
    found = next((choice for choice in choices if choice.is_file()), None)
    if found is None:
        raise DataError(f"{file}: its image {name or file.stem!r} is not in {folder}")
    return found


def _size(tree: ElementTree.Element, file: Path) -> tuple[int, int] | None:
    """Width and height; None where they are not given, or 0, as some tools write."""
    words = [tree.findtext(f"size/{side}") for side in ("width", "height")]
    try:
        width, height = (int(float(word)) if word and word.strip() else 0 for word in words)
    except (ValueError, OverflowError):
        raise DataError(f"{file}: size {words[0]!r} x {words[1]!r} is not made of numbers") from None
    return (width, height) if 0 < width <= 1_000_000 and 0 < height <= 1_000_000 else None


def _objects(tree: ElementTree.Element, file: Path) -> list[tuple[str, ElementTree.Element]]:
    found = []
    for number, element in enumerate(tree.findall("object"), start=1):
        name = (element.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{file}: object {number} has no name")
        found.append((name, element))
    return found


def _box(element: ElementTree.Element, who: str) -> Box:
    corners = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        word = element.findtext(f"bndbox/{side}")
        if word is None:
            raise DataError(f"{who}: no {side} in its bndbox")
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not abs(value) < 1e9:
            raise DataError(f"{who}: {side} = {word.strip()!r} is no number of pixels")
        corners.append(value)
    left, top, right, bottom = corners[0] - 1, corners[1] - 1, corners[2], corners[3]
    return (left, top, right - left, bottom - top)
