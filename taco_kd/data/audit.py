"""The audit: an annotated set of images looked through from end to end, nothing trusted, nothing changed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taco_kd.config import PrepareConfig
from taco_kd.data.audit_document import Inspected, inspect_document, raw_document
from taco_kd.data.audit_kinds import KINDS, SEVERITIES, Found
from taco_kd.data.audit_pixels import Seen, inspect_images, without_record
from taco_kd.data.audit_statistics import Statistics, small_after_resize, statistics
from taco_kd.data.coco_schema import REQUIRED_KEYS
from taco_kd.data.leakage import Leakage, leakage
from taco_kd.data.recognise import recognise
from taco_kd.data.records import RawDataset
from taco_kd.data.sources import read_source
from taco_kd.errors import DataError
from taco_kd.files import read_json
from taco_kd.progress import Tick
from taco_kd.runs import SPLITS, DataDir

AUDIT_FORMAT = 1


@dataclass(frozen=True)
class Source:
    """One annotation file and its folder of images; ``images`` None: there are none to look at.

    Attributes:
        raw: a dataset of another format than COCO, as its reader delivers it, boxes clipped.
    """

    name: str
    annotations: Path
    images: Path | None
    raw: RawDataset | None = None

    def document(self) -> dict[str, Any]:
        """The COCO dictionary to look at."""
        return read_document(self.annotations) if self.raw is None else raw_document(self.raw)

    def said(self) -> list[Found]:
        """What the reader found and put right."""
        kinds = {"clipped_box": "box_out_of_bounds", "dropped_box": "degenerate_box"}
        findings = () if self.raw is None else self.raw.findings
        return [
            Found(kinds.get(f.kind, "said_by_reader"), f.line, f.image, f.annotation_id, "by the reader")
            for f in findings
        ]


@dataclass(frozen=True)
class PartAudit:
    """What was found in one annotation file."""

    source: Source
    inspected: Inspected
    seen: Seen | None
    statistics: Statistics
    found: tuple[Found, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.source.name,
            "annotations": str(self.source.annotations),
            "images_folder": None if self.source.images is None else str(self.source.images),
            "statistics": self.statistics.to_json(),
            "findings": [found.to_json() for found in self.found],
        }


@dataclass(frozen=True)
class Audit:
    """What was found in a dataset: its parts, and the border between train and val where it has one."""

    path: Path
    parts: tuple[PartAudit, ...]
    leakage: Leakage | None

    @property
    def found(self) -> list[Found]:
        return [found for part in self.parts for found in part.found]

    def counts(self) -> dict[str, int]:
        """Findings of each kind that occurs, the worst kinds first."""
        number = Counter(found.kind for found in self.found)
        order = sorted(
            number, key=lambda kind: (SEVERITIES.index(KINDS[kind].severity), list(KINDS).index(kind))
        )
        return {kind: number[kind] for kind in order}

    def to_json(self) -> dict[str, Any]:
        return {
            "format": AUDIT_FORMAT,
            "path": str(self.path),
            "counts": self.counts(),
            "parts": [part.to_json() for part in self.parts],
            "leakage": None if self.leakage is None else self.leakage.to_json(),
        }


def sources_of(path: Path, images: Path | None = None) -> list[Source]:
    """What there is to look at in ``path``: a prepared dataset, a folder of a known layout, or a COCO file.

    Raises:
        DataError: it is none of these.
    """
    if (path / "dataset.json").is_file():
        data = DataDir.open(path)
        return [Source(split, data.annotations_file(split), data.images_dir(split)) for split in SPLITS]
    if path.is_file():
        return [Source(path.stem, path, images)]
    if (path / "annotations.json").is_file():
        return [Source(path.resolve().name, path / "annotations.json", images or path)]
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    try:
        name, _ = recognise(path)
    except DataError:
        raise DataError(
            f"{path}: neither a prepared dataset (dataset.json) nor a folder in TACO's, COCO's, YOLO's or "
            "VOC's layout; or name a COCO file itself, with --images FOLDER"
        ) from None
    raw = read_source(PrepareConfig(source=name, root=path, clip_boxes=True), path, None)
    return [Source(f"{path.resolve().name} ({name})", raw.annotations_file, path, raw)]


def audit(
    path: Path,
    *,
    images: Path | None = None,
    size_px: int | None = None,
    hash_threshold: int = 4,
    workers: int = 0,
    on_progress: Tick | None = None,
) -> Audit:
    """Look through a dataset.

    Args:
        path: a prepared dataset, a folder with ``annotations.json``, or a COCO file.
        images: folder of images of a COCO file; without one only the file is looked at.
        size_px: side of the square that the histograms after the resize are for; by default that of a
            prepared dataset, else 640.

    Raises:
        DataError: there is no dataset, or its annotation file is not JSON with COCO's three lists.
    """
    if images is not None and not images.is_dir():
        raise DataError(f"{images}: no such folder of images")
    if size_px is None:
        prepared = (path / "dataset.json").is_file()
        size_px = int(DataDir(path).record()["image_size"]) if prepared else 640
    parts = [
        _audit_part(source, size_px, hash_threshold, workers, on_progress)
        for source in sources_of(path, images)
    ]
    return Audit(path, tuple(parts), _border(parts))


def _audit_part(
    source: Source, size_px: int, hash_threshold: int, workers: int, on_progress: Tick | None
) -> PartAudit:
    inspected = inspect_document(source.document())
    found = [*source.said(), *inspected.found]
    seen = None
    if source.images is not None:
        seen = inspect_images(
            inspected, source.images, hash_threshold=hash_threshold, workers=workers, on_progress=on_progress
        )
        found += [*seen.found, *without_record(inspected, source.images)]
    for a in small_after_resize(inspected.images, inspected.annotations, size_px=size_px):
        name = inspected.images[a.image_id].file_name
        size = f"{a.bbox[2]:.4g}x{a.bbox[3]:.4g} px is under one pixel at {size_px}x{size_px}"
        found.append(Found("small_box", f"annotation id {a.id} in {name}: its box of {size}", name, a.id))
    counted = statistics(
        inspected.images,
        inspected.annotations,
        inspected.class_names,
        size_px=size_px,
        native_factors=_native_factors(inspected.repaired["images"]),
    )
    return PartAudit(source, inspected, seen, counted, tuple(found))


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object with COCO's three lists; what is in the lists is not looked at.

    Raises:
        DataError: it is anything else.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise DataError(f"{path}: not a COCO annotation file: a {kind} instead of an object")
    for key in REQUIRED_KEYS:
        if not isinstance(document.get(key), list):
            raise DataError(f"{path}: not a COCO annotation file: {key!r} is not a list")
    return document


def _native_factors(entries: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Pixels of the original photo for a pixel of a prepared image, where records say how large that was."""
    factors = {}
    for entry in entries:
        sides = [
            entry.get("original_width"),
            entry.get("original_height"),
            entry.get("content_width", entry["width"]),
            entry.get("content_height", entry["height"]),
        ]
        width, height, own_width, own_height = (
            float(s) if isinstance(s, int | float) else 0.0 for s in sides
        )
        if min(width, height, own_width, own_height) > 0:
            factors[int(entry["id"])] = width * height / (own_width * own_height)
    return factors


def _border(parts: Sequence[PartAudit]) -> Leakage | None:
    """The border of a prepared dataset, by the pixels of its images and the scenes that they name."""
    named = {part.source.name: part for part in parts}
    if set(named) != set(SPLITS) or any(part.seen is None for part in parts):
        return None
    prints = [p for part in parts if part.seen is not None for p in part.seen.prints]
    ids = {split: [p.image_id for p in named[split].seen.prints] for split in SPLITS}  # type: ignore[union-attr]
    return leakage(ids, prints, scene_of=_scenes(parts))


def _scenes(parts: Sequence[PartAudit]) -> Mapping[int, str]:
    scenes = {}
    for part in parts:
        for image in part.inspected.repaired["images"]:
            key = next((key for key in ("scene", "group") if image.get(key) is not None), None)
            if key is not None:
                scenes[int(image["id"])] = json.dumps([key, image[key]])
    return scenes
