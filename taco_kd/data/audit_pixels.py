"""Checks that open the images: files that are missing or damaged, sizes, labels that lie elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taco_kd.data.audit_document import Inspected
from taco_kd.data.audit_kinds import Found
from taco_kd.data.coco_schema import CocoAnnotation
from taco_kd.data.dedup import Fingerprint, find_duplicates
from taco_kd.data.images import ImageJob, Unusable, process_or_say_why
from taco_kd.data.label_turns import LabelTurn
from taco_kd.data.parallel import ordered_map
from taco_kd.data.records import Annotation, Finding, ImageRecord
from taco_kd.progress import Tick

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_LOOK_SIDE = 640  # JPEGs are decoded at no smaller scale than this


@dataclass(frozen=True)
class Seen:
    """What the pixels of the images said.

    Attributes:
        found: findings, by image.
        unusable: ids of images that ``--fix`` drops.
        turns: degrees by which the labels of an image should be turned, by image id.
        prints: fingerprints of the images that can be used.
    """

    found: tuple[Found, ...]
    unusable: frozenset[int]
    turns: Mapping[int, int]
    prints: tuple[Fingerprint, ...]


def inspect_images(
    inspected: Inspected,
    folder: Path,
    *,
    hash_threshold: int = 4,
    workers: int = 0,
    on_progress: Tick | None = None,
) -> Seen:
    """Open every image that ``inspected`` lists under ``folder``; once each, in parallel."""
    by_image: dict[int, list[CocoAnnotation]] = {}
    for annotation in inspected.annotations:
        by_image.setdefault(annotation.image_id, []).append(annotation)
    found: list[Found] = []
    unusable: set[int] = set()
    present = []
    for image in inspected.images.values():
        if (folder / image.file_name).is_file():
            present.append(image)
        else:
            line = f"{image.file_name} (image id {image.id}): no such file in {folder}"
            found.append(Found("missing_image", line, image.file_name, fixed="dropped"))
            unusable.add(image.id)
    jobs = [
        ImageJob(
            folder / i.file_name,
            i.width,
            i.height,
            _LOOK_SIDE,
            target=None,
            labels=tuple(map(as_annotation, by_image.get(i.id, ()))),
        )
        for i in present
    ]
    results = ordered_map(
        process_or_say_why, jobs, workers=workers, on_progress=on_progress, note="looking at images"
    )
    turns: dict[int, int] = {}
    prints = []
    for image, result in zip(present, results, strict=True):
        if isinstance(result, Unusable):
            kind = "size_mismatch" if result.other_size else "unreadable_image"
            found.append(Found(kind, result.reason, image.file_name, fixed="dropped"))
            unusable.add(image.id)
            continue
        if (size := result.stored_size) is not None:
            line = (
                f"{image.file_name}: {size[0]}x{size[1]} pixels, {image.width}x{image.height} in the record"
            )
            found.append(Found("other_scale", line, image.file_name))
        if (turn := result.label_turn) is not None and turn.suspicious:
            ids = [a.id for a in by_image[image.id]]
            found.append(_turned(image.file_name, ids, turn))
            turns[image.id] = turn.best_degrees
        count = len(by_image.get(image.id, ()))
        pixels = image.width * image.height
        prints.append(Fingerprint(image.id, result.sha256, result.phash, result.thumbnail, pixels, count))
    found += _duplicates(prints, {i.id: i.file_name for i in present}, hash_threshold)
    return Seen(tuple(found), frozenset(unusable), turns, tuple(prints))


def without_record(inspected: Inspected, folder: Path) -> Iterator[Found]:
    """Image files under ``folder`` that the annotation file does not list."""
    listed = {(folder / image.file_name).resolve() for image in inspected.images.values()}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file() and file.resolve() not in listed:
            name = file.relative_to(folder).as_posix()
            yield Found("image_without_record", f"{name}: no record names it", name)


def label_findings(turns: Mapping[int, tuple[ImageRecord, LabelTurn | None]]) -> list[Finding]:
    """Findings about labels that fit the pixels better when turned, for the record of a preparation."""
    return [
        _turned(image.file_name, [a.id for a in image.annotations], turn).finding()
        for _, (image, turn) in sorted(turns.items())
        if turn is not None and turn.suspicious
    ]


def _turned(name: str, ids: Sequence[int], turn: LabelTurn) -> Found:
    shown = ", ".join(map(str, ids[:5])) + ("" if len(ids) <= 5 else f" and {len(ids) - 5} more")
    line = (
        f"{name}: its {turn.outlines} (annotation id {shown}) fit the pixels at {turn.fits[0]:.2f}, and "
        f"turned by {turn.best_degrees} degrees at {max(turn.fits):.2f}; look at it"
    )
    values = {"fits": list(turn.fits), "degrees": turn.best_degrees, "margin": round(turn.margin, 3)}
    return Found("label_turned", line, name, ids[0] if len(ids) == 1 else None, values=values)


def _duplicates(prints: Sequence[Fingerprint], names: Mapping[int, str], threshold: int) -> Iterator[Found]:
    for pair in find_duplicates(prints, hash_threshold=threshold).pairs:
        one, other = (names[i] for i in pair.image_ids)
        how = "equal bytes" if pair.equal_bytes else f"{pair.hash_distance_bits} bits apart"
        line = f"{other} shows what {one} shows ({how}, pixel difference {pair.pixel_difference:.1f})"
        yield Found("duplicate_image", line, other)


def as_annotation(entry: CocoAnnotation) -> Annotation:
    """A COCO annotation as the preparation knows it, with its usable polygons."""
    x, y, w, h = entry.bbox
    polygons = entry.segmentation if isinstance(entry.segmentation, list) else []
    usable = tuple(tuple(p) for p in polygons if len(p) >= 6 and len(p) % 2 == 0)
    area = w * h if entry.area is None else entry.area
    return Annotation(entry.id, entry.category_id, (x, y, w, h), usable, area, entry.iscrowd)
