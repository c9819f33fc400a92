"""A repaired copy of what was audited, with a line for everything that was changed; the original stays."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taco_kd.data.audit import Audit, PartAudit
from taco_kd.data.label_turns import turned
from taco_kd.data.records import Annotation
from taco_kd.data.staging import folder_that_becomes
from taco_kd.data.yolo_output import write_labels, write_yaml
from taco_kd.errors import DataError, UsageError
from taco_kd.files import sha256_file, sha256_json, write_json
from taco_kd.runs import DataDir, check_claim, split_named

LOG_NAME = "fixes.json"


@dataclass(frozen=True)
class Fixed:
    """Where the repaired copy and its log are, and how many changes of each kind were made."""

    path: Path
    log: Path
    counts: Mapping[str, int]


def write_fixed(audit: Audit, out: Path, *, turn_labels: bool = False, overwrite: bool = False) -> Fixed:
    """Write what ``audit`` saw to ``out``, with everything fixed that has a fix.

    A prepared dataset becomes a prepared dataset (a folder, its images linked or copied); an annotation file
    becomes an annotation file, for the same images. The log lies in the folder, or beside the file.

    Args:
        turn_labels: turn labels that fit the pixels better so; without it they stay and are only reported.

    Raises:
        UsageError: ``out`` is what was audited, or holds something else.
        DataError: nothing usable would be left.
    """
    documents, log = {}, []
    for part in audit.parts:
        documents[part.source.name] = _repaired(part, turn_labels)
        log += [{"part": part.source.name, **entry} for entry in _log(part, turn_labels)]
        if not documents[part.source.name]["images"]:
            raise DataError(f"{part.source.annotations}: no usable image would be left")
    counts = Counter(entry["kind"] for entry in log)
    if (audit.path / "dataset.json").is_file():
        return Fixed(out, _write_dataset(audit, documents, log, out, overwrite), counts)
    if out.suffix.lower() != ".json":
        raise UsageError(f"--fix {out}: give the repaired annotation file a name that ends in .json")
    (part,) = audit.parts
    log_file = out.with_name(f"{out.stem}.{LOG_NAME}")
    if out.resolve() == part.source.annotations.resolve():
        raise UsageError(f"--fix {out}: is the file that was audited; choose another name")
    if out.exists() and not overwrite:
        raise UsageError(f"--fix {out}: exists already; choose another name or add --overwrite")
    write_json(out, documents[part.source.name], indent=None)
    write_json(log_file, {"source": str(part.source.annotations), "fixes": log})
    return Fixed(out, log_file, counts)


def _repaired(part: PartAudit, turn_labels: bool) -> dict[str, Any]:
    """The document without the images that cannot be used, its labels turned where that is wanted."""
    if part.seen is None:
        return part.inspected.repaired
    document = part.inspected.without_images(part.seen.unusable)
    if not turn_labels:
        return document
    turns, images = part.seen.turns, part.inspected.images
    document["annotations"] = [
        _turned(
            entry, turns[entry["image_id"]], images[entry["image_id"]].width, images[entry["image_id"]].height
        )
        if entry["image_id"] in turns
        else entry
        for entry in document["annotations"]
    ]
    return document


def _turned(entry: Mapping[str, Any], degrees: int, width: int, height: int) -> dict[str, Any]:
    polygons = entry.get("segmentation")
    polygons = polygons if isinstance(polygons, list) else []
    x, y, w, h = (float(v) for v in entry["bbox"])
    before = Annotation(0, 0, (x, y, w, h), tuple(tuple(p) for p in polygons), 0.0, 0)
    after = turned(before, degrees, width, height)
    changed = {**entry, "bbox": [round(v, 3) for v in after.bbox_xywh]}
    if polygons:
        changed["segmentation"] = [[round(v, 3) for v in p] for p in after.segmentation]
    return changed


def _log(part: PartAudit, turn_labels: bool) -> list[dict[str, Any]]:
    entries = [found.to_json() for found in part.found if found.fixed]
    if turn_labels:
        for found in part.found:
            if found.kind == "label_turned" and found.values is not None:
                done = f"labels turned by {found.values['degrees']} degrees clockwise"
                entries.append({**found.to_json(), "fixed": done})
    return entries


def _write_dataset(
    audit: Audit,
    documents: Mapping[str, dict[str, Any]],
    log: list[dict[str, Any]],
    out: Path,
    overwrite: bool,
) -> Path:
    old = DataDir.open(audit.path)
    if out.resolve() == old.path.resolve():
        raise UsageError(f"--fix {out}: is the dataset that was audited; choose another folder")
    check_claim(out, record_name="dataset.json", overwrite=overwrite, what="dataset")
    record = old.record()
    with folder_that_becomes(out) as folder:
        new = DataDir(folder)
        hashes: dict[str, Any] = {}
        for name, document in documents.items():
            split = split_named(name)
            write_json(new.annotations_file(split), document, indent=None)
            new.images_dir(split).mkdir(parents=True)
            images = {
                str(image["file_name"]): old.image_file(split, image["file_name"])
                for image in document["images"]
            }
            for file_name, source in images.items():
                _link(source, new.image_file(split, file_name))
            hashes[split] = {
                "annotations": sha256_file(new.annotations_file(split)),
                "images": {file_name: sha256_file(source) for file_name, source in images.items()},
            }
            record["counts"][split] = _counts(document)
            write_labels(new, split, document)
        write_yaml(new, record["class_names"])
        if old.duplicates_file.is_file():
            shutil.copy2(old.duplicates_file, new.duplicates_file)
        record |= {"content_hash": sha256_json(hashes), "settings_hash": "", "fixed_from": old.content_hash}
        write_json(folder / LOG_NAME, {"source": str(old.path), "fixes": log})
        write_json(new.hashes_file, hashes, indent=None)
        write_json(new.record_file, record)
    return out / LOG_NAME


def _counts(document: Mapping[str, Any]) -> dict[str, Any]:
    boxes = Counter(a["category_id"] for a in document["annotations"])
    return {
        "images": len(document["images"]),
        "boxes": boxes.total(),
        "boxes_per_class": {c["name"]: boxes[c["id"]] for c in document["categories"]},
    }


def _link(source: Path, target: Path) -> None:
    """A hard link where the disk allows it, else a copy: prepared images are never written to again."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
