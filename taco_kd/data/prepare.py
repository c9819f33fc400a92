"""The preparation stage: raw images -> near-duplicates out -> square JPEGs -> a train and a val split."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from taco_kd.config import PrepareConfig
from taco_kd.data.audit_document import raw_findings
from taco_kd.data.capture import shots_of
from taco_kd.data.card import dataset_card
from taco_kd.data.contact_sheet import write_contact_sheet
from taco_kd.data.dedup import Duplicates, find_duplicates
from taco_kd.data.groups import time_pairs
from taco_kd.data.hashes import check_hash
from taco_kd.data.identity import FORMAT, contents, file_hash, input_hash, settings_hash
from taco_kd.data.leakage import leakage
from taco_kd.data.named_ids import named_ids
from taco_kd.data.near import Embed
from taco_kd.data.output import (
    coco_split,
    duplicates_json,
    output_name,
    software,
    split_counts,
    vanished,
)
from taco_kd.data.parts import check_split, choose_parts, fixed_val_ids
from taco_kd.data.preference import preferring
from taco_kd.data.processing import embedded_pairs, process_images
from taco_kd.data.records import RawDataset
from taco_kd.data.review import write_review
from taco_kd.data.sources import read_source, resolve
from taco_kd.data.staging import folder_that_becomes, recover
from taco_kd.data.yolo_output import write_labels, write_yaml
from taco_kd.errors import UsageError
from taco_kd.files import sha256_json, write_json, write_text
from taco_kd.progress import Tick
from taco_kd.runs import SPLITS, DataDir, Split, claim

RECORD_NAME = "dataset.json"


def prepare(
    config: PrepareConfig,
    out: Path,
    *,
    overwrite: bool = False,
    on_progress: Tick | None = None,
    embed: Embed | None = None,
) -> DataDir:
    """Make the dataset that ``config`` describes in ``out``, or return the one that is there already.

    Everything is written beside ``out`` and renamed at the end: a run that fails or is interrupted leaves
    ``out`` as it was, also with ``overwrite``. The number of workers does not change a byte.

    Args:
        embed: gives the vectors of image files; needed where ``config.near`` is ``embeddings``.

    Raises:
        UsageError: settings that contradict each other, or an ``out`` that holds something else.
        DataError: the raw data cannot be used; the line says where and why.
    """
    check_split(config)
    check_hash(config.hash, config.hash_size)
    if config.near == "embeddings" and embed is None:
        raise UsageError("near = 'embeddings': give prepare a function that embeds images (embed)")
    config = config.model_copy(update={"source": resolve(config)[0]})
    recover(out)
    ours = (out / RECORD_NAME).is_file()
    if ours and not overwrite and _is_up_to_date(DataDir(out), config):
        return DataDir(out)
    if not (ours and overwrite):
        claim(out, record_name=RECORD_NAME, overwrite=False, what="dataset")
    with folder_that_becomes(out) as partial:
        scratch = partial / "raw"
        raw = read_source(config, scratch, on_progress)
        _build(config, raw, DataDir(partial), on_progress, embed)
        shutil.rmtree(scratch, ignore_errors=True)
    return DataDir.open(out)


def summary_line(data: DataDir) -> str:
    """One line such as ``1,500 images read, 2 duplicates removed, ... -> 1,273 train / 225 val at ...``."""
    record = data.record()
    counts, size = record["counts"], record["image_size"]
    removed = counts["duplicates_removed"]
    return (
        f"{counts['images_read']:,} images read, {removed:,} duplicate{'s' * (removed != 1)} removed, "
        f"{counts['exif_turned']:,} turned by EXIF -> {counts['train']['images']:,} train / "
        f"{counts['val']['images']:,} val at {size}x{size}, {len(record['class_names'])} classes"
    )


def _is_up_to_date(data: DataDir, config: PrepareConfig) -> bool:
    record = data.record()
    if record.get("format") != FORMAT or record.get("settings_hash") != settings_hash(config):
        return False
    if config.source == "synthetic":
        return True  # scenes follow from the settings
    raw = read_source(config, data.path, None)
    hashes = [file_hash(image.path) for image in raw.images]
    return bool(record.get("input_hash") == input_hash(raw, hashes))


def _build(
    config: PrepareConfig, raw: RawDataset, data: DataDir, on_progress: Tick | None, embed: Embed | None
) -> None:
    """Fill ``data`` from ``raw``; the record comes last."""
    images = {image.id: image for image in raw.images}
    named = named_ids(config.ids, raw.images) if config.ids is not None else frozenset[int]()
    val_ids = fixed_val_ids(config, raw.images, named)
    processed = process_images(images, data, config, on_progress)
    images, results, prints = processed.images, processed.results, processed.prints
    near = embedded_pairs(images, data, config, on_progress, embed)
    duplicates = preferring(find_duplicates(prints, hash_threshold=config.hash_threshold, near=near), val_ids)
    write_review(data, duplicates, images, config)
    kept = {i: image for i, image in images.items() if i not in duplicates.removed_ids}
    parts = choose_parts(config, kept, [p for p in prints if p.image_id in kept], val_ids)
    _sort_images(data, parts.ids, duplicates)
    findings = [*raw.findings, *parts.findings, *processed.findings, *raw_findings(raw)]
    findings += [finding for image in kept.values() for finding in vanished(image, config)]
    cocos = {
        split: coco_split([images[i] for i in parts.ids[split]], raw, config, parts.group_of)
        for split in SPLITS
    }
    for split in SPLITS:
        write_json(data.annotations_file(split), cocos[split], indent=None)
        write_labels(data, split, cocos[split])
    write_json(data.duplicates_file, duplicates_json(duplicates, images, config))
    counts: dict[str, object] = {
        "images_read": len(images),
        "images_quarantined": sum(finding.kind == "quarantined" for finding in findings),
        "duplicates_removed": len(duplicates.removed_ids),
        "exif_turned": sum(result.turned for result in results.values()),
        **{split: split_counts(cocos[split]) for split in SPLITS},
    }
    hashes = contents(data, parts.ids, {i: r.output_sha256 for i, r in results.items()})
    record = {
        "format": FORMAT,
        "class_names": [category.name for category in raw.categories],
        "image_size": config.size,
        "config": config.model_dump(mode="json"),
        "settings_hash": settings_hash(config),
        "input_hash": input_hash(raw, processed.hashes_of(raw.images)),
        "content_hash": sha256_json(hashes),
        "counts": counts,
        "leakage": leakage(
            parts.ids, prints, scene_of=parts.group_of, shots_in_a_row=time_pairs(shots_of(kept.values()))
        ).to_json(),
        "class_map_table": [asdict(row) for row in raw.merged],
        "findings": [asdict(finding) for finding in findings],
        "environment": software(),
    }
    write_yaml(data, [category.name for category in raw.categories])
    write_contact_sheet(data, cocos, seed=config.seed)
    write_text(data.card_file, dataset_card(record, cocos))
    write_json(data.hashes_file, hashes, indent=None)
    write_json(data.record_file, record)


def _sort_images(data: DataDir, parts: Mapping[Split, list[int]], duplicates: Duplicates) -> None:
    """Move the images to the folders of their splits and drop those that are duplicates."""
    folder = data.path / "images"
    for split in SPLITS:
        data.images_dir(split).mkdir()
        for image_id in parts[split]:
            name = output_name(image_id)
            (folder / name).rename(data.image_file(split, name))
    for image_id in duplicates.removed_ids:
        (folder / output_name(image_id)).unlink()
