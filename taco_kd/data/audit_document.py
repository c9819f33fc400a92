"""Everything that can be said about an annotation file without opening an image, and the file put right."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from taco_kd.data.audit_boxes import against_each_other, box_json, mask_against_box, place_of
from taco_kd.data.audit_kinds import Found
from taco_kd.data.coco_schema import CocoAnnotation, CocoCategory, CocoImage, short
from taco_kd.data.records import Finding, RawDataset

Part = TypeVar("Part", bound=BaseModel)
Json = dict[str, Any]


@dataclass
class Inspected:
    """An annotation file that was looked through.

    Attributes:
        found: findings in the order of the file.
        images, annotations: the entries that can be used, parsed, by id and in the order of the file.
        class_names: by category id.
        repaired: the document with everything fixed that has a fix; entries keep their unknown keys.
    """

    found: list[Found] = field(default_factory=list)
    images: dict[int, CocoImage] = field(default_factory=dict)
    annotations: list[CocoAnnotation] = field(default_factory=list)
    class_names: dict[int, str] = field(default_factory=dict)
    repaired: Json = field(default_factory=dict)

    def without_images(self, ids: Iterable[int]) -> Json:
        """``repaired`` without these images and their annotations."""
        gone = set(ids)
        return {
            **self.repaired,
            "images": [i for i in self.repaired["images"] if i["id"] not in gone],
            "annotations": [a for a in self.repaired["annotations"] if a["image_id"] not in gone],
        }


def inspect_document(document: Mapping[str, Any]) -> Inspected:
    """Look at every entry of a COCO dictionary; all that is trusted is that its three lists are lists."""
    seen = Inspected(repaired=dict(document))
    seen.repaired |= {"images": [], "categories": [], "annotations": []}
    for entry in document["categories"]:
        if (category := _parsed(CocoCategory, entry, "category", seen)) is None:
            continue
        if category.id in seen.class_names:
            _add(seen, "repeated_category_id", f"category id {category.id} is used twice", fixed="dropped")
            continue
        if category.name in seen.class_names.values():
            _add(seen, "repeated_class_name", f"category id {category.id}: {category.name!r} is named twice")
        seen.class_names[category.id] = category.name
        seen.repaired["categories"].append(entry)
    _inspect_images(document["images"], seen)
    _inspect_annotations(document["annotations"], seen)
    _inspect_use(seen)
    return seen


def _inspect_images(entries: Sequence[object], seen: Inspected) -> None:
    names: dict[str, int] = {}
    for entry in entries:
        if (image := _parsed(CocoImage, entry, "image", seen)) is None:
            continue
        if image.id in seen.images:
            line = (
                f"image id {image.id} ({image.file_name}) is used before by {seen.images[image.id].file_name}"
            )
            _add(seen, "repeated_image_id", line, image.file_name, fixed="dropped")
            continue
        if not stays_inside(image.file_name):
            line = f"image id {image.id}: file_name {image.file_name!r} does not stay in the image folder"
            _add(seen, "unsafe_file_name", line, image.file_name, fixed="dropped")
            continue
        if image.file_name in names:
            line = f"image id {image.id}: {image.file_name} is image id {names[image.file_name]} too"
            _add(seen, "image_listed_twice", line, image.file_name)
        names.setdefault(image.file_name, image.id)
        seen.images[image.id] = image
        seen.repaired["images"].append(entry)


def _inspect_annotations(entries: Sequence[object], seen: Inspected) -> None:
    parsed = [(entry, a) for entry in entries if (a := _parsed(CocoAnnotation, entry, "annotation", seen))]
    spare = max((a.id for _, a in parsed), default=0) + 1
    taken: set[int] = set()
    by_image: defaultdict[int, list[tuple[Json, CocoAnnotation]]] = defaultdict(list)
    order: list[tuple[int, Json]] = []
    for entry, original in parsed:
        assert isinstance(entry, dict)  # since it was parsed
        changed, annotation = dict(entry), original
        image = seen.images.get(annotation.image_id)
        if annotation.id in taken:
            where = image.file_name if image else f"image id {annotation.image_id}"
            line = f"annotation id {annotation.id} in {where} is used before"
            _add(
                seen,
                "repeated_annotation_id",
                line,
                image.file_name if image else None,
                annotation.id,
                f"now {spare}",
            )
            changed["id"], spare = spare, spare + 1
            annotation = annotation.model_copy(update={"id": changed["id"]})
        taken.add(annotation.id)
        if image is None:
            line = f"annotation id {annotation.id}: no image has the id {annotation.image_id}"
            _add(seen, "unknown_image", line, None, annotation.id, "dropped")
            continue
        if annotation.category_id not in seen.class_names:
            line = f"annotation id {annotation.id}: no category has the id {annotation.category_id}"
            _add(seen, "unknown_class", line, image.file_name, annotation.id, "dropped")
            continue
        found, box = place_of(annotation, image)
        if found is not None:
            seen.found.append(found)
        if box is None:
            continue
        if found is not None:
            changed |= box_json(annotation, box)
            annotation = annotation.model_copy(update=box_json(annotation, box))
        _inspect_mask(annotation, changed, image, seen)
        by_image[image.id].append((changed, annotation))
        order.append((annotation.id, changed))
    dropped: set[int] = set()
    for image_id, members in by_image.items():
        annotations = [annotation for _, annotation in members]
        for pair in against_each_other(annotations, seen.images[image_id], seen.class_names):
            if pair.annotation_id in dropped:
                continue  # one finding is enough for a box that was given three times
            seen.found.append(pair)
            if pair.kind == "duplicate_box" and pair.annotation_id is not None:
                dropped.add(pair.annotation_id)
        seen.annotations += annotations
    seen.repaired["annotations"] = [entry for number, entry in order if number not in dropped]


def _inspect_mask(annotation: CocoAnnotation, changed: Json, image: CocoImage, seen: Inspected) -> None:
    if isinstance(annotation.segmentation, list):
        usable = [p for p in annotation.segmentation if len(p) >= 6 and len(p) % 2 == 0]
        if len(usable) < len(annotation.segmentation):
            line = f"annotation id {annotation.id} in {image.file_name}: a polygon without three whole points"
            _add(seen, "unusable_mask", line, image.file_name, annotation.id, "polygon dropped")
            changed["segmentation"] = usable
    if (found := mask_against_box(annotation, image)) is not None:
        seen.found.append(found)


def _inspect_use(seen: Inspected) -> None:
    boxes = Counter(a.category_id for a in seen.annotations)
    for number, name in seen.class_names.items():
        if not boxes[number]:
            _add(seen, "unused_class", f"class {name!r} (category id {number}) has no box")
    shown = {a.image_id for a in seen.annotations}
    for image in seen.images.values():
        if image.id not in shown:
            _add(seen, "image_without_boxes", f"{image.file_name} (image id {image.id})", image.file_name)


def stays_inside(name: str) -> bool:
    """Whether a relative file name stays in its folder on every system."""
    depth = 0
    for part in PurePosixPath(name).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return False
    absolute = PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).anchor)
    climbs = ".." in PureWindowsPath(name).parts and "\\" in name
    return depth > 0 and not absolute and not climbs and not any(ord(character) < 32 for character in name)


def _parsed(kind: type[Part], entry: object, what: str, seen: Inspected) -> Part | None:
    try:
        return kind.model_validate(entry)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    identity: Hashable = entry.get("id", "?") if isinstance(entry, dict) else "?"
    who = f"{what} id {short(identity)}" if isinstance(entry, dict) else f"{what} {short(entry)}"
    key = ".".join(str(part) for part in problem["loc"])
    value = f" = {short(problem['input'])}" if key and problem["type"] != "missing" else ""
    line = f"{who}: {key}{value}: {problem['msg'].lower()}"
    number = identity if what == "annotation" and isinstance(identity, int) else None
    name = entry.get("file_name") if isinstance(entry, dict) else None
    _add(seen, "malformed_entry", line, name if isinstance(name, str) else None, number, "dropped")
    return None


def _add(
    seen: Inspected,
    kind: str,
    line: str,
    image: str | None = None,
    annotation_id: int | None = None,
    fixed: str = "",
) -> None:
    seen.found.append(Found(kind, line, image, annotation_id, fixed))


def raw_findings(raw: RawDataset) -> list[Finding]:
    """What is left to say about a dataset whose reader has checked and clipped it already."""
    return [found.finding() for found in inspect_document(raw_document(raw)).found]


def raw_document(raw: RawDataset) -> Json:
    """A dataset of any format as a COCO dictionary."""
    return {
        "images": [
            {"id": i.id, "file_name": i.file_name, "width": i.width, "height": i.height} for i in raw.images
        ],
        "categories": [{"id": c.id, "name": c.name} for c in raw.categories],
        "annotations": [
            {
                "id": a.id,
                "image_id": image.id,
                "category_id": a.category_id,
                "bbox": list(a.bbox_xywh),
                "segmentation": [list(p) for p in a.segmentation],
                "iscrowd": a.iscrowd,
            }
            for image in raw.images
            for a in image.annotations
        ],
    }
