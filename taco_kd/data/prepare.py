"""The preparation stage: raw images -> near-duplicates out -> square JPEGs -> a train and a val split."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from taco_kd.config import PrepareConfig
from taco_kd.data.audit_document import raw_findings
from taco_kd.data.audit_pixels import label_findings
from taco_kd.data.dedup import Duplicates, Fingerprint, find_duplicates
from taco_kd.data.hashes import check_hash
from taco_kd.data.identity import FORMAT, content_hash, file_hash, input_hash, settings_hash
from taco_kd.data.images import ImageJob, ImageResult, Unusable, process_image, process_or_say_why
from taco_kd.data.leakage import leakage
from taco_kd.data.near import Embed, near_pairs
from taco_kd.data.output import coco_split, duplicates_json, output_name, software, split_counts
from taco_kd.data.parallel import ordered_map
from taco_kd.data.records import Finding, ImageRecord, RawDataset
from taco_kd.data.review import write_review
from taco_kd.data.sources import read_source, resolve
from taco_kd.data.split import split_ids
from taco_kd.data.staging import folder_that_becomes
from taco_kd.errors import DataError, UsageError
from taco_kd.files import write_json
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
    config = config.model_copy(update={"source": resolve(config)})
    check_hash(config.hash, config.hash_size)
    if config.near == "embeddings" and embed is None:
        raise UsageError("near = 'embeddings': give prepare a function that embeds images (embed)")
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
    results, quarantined = _process_images(images, data, config, on_progress)
    images = {i: image for i, image in images.items() if i in results}
    prints = [_fingerprint(image, results[i]) for i, image in images.items()]
    near = []
    if embed is not None and config.near == "embeddings":
        vectors = embed([data.path / "images" / output_name(i) for i in images], on_progress)
        near = near_pairs(list(images), vectors, threshold=config.near_threshold)
    duplicates = find_duplicates(prints, hash_threshold=config.hash_threshold, near=near)
    write_review(data, data.path / "images", duplicates, images)
    kept = [i for i in images if i not in duplicates.removed_ids]
    parts = split_ids(kept, train_ratio=config.train_ratio, seed=config.seed)
    _sort_images(data, parts, duplicates)
    counts: dict[str, object] = {
        "images_read": len(images),
        "images_quarantined": sum(f.kind == "quarantined" for f in (*raw.findings, *quarantined)),
        "duplicates_removed": len(duplicates.removed_ids),
        "exif_turned": sum(result.turned for result in results.values()),
    }
    for split in SPLITS:
        records = [images[i] for i in parts[split]]
        coco = coco_split(records, raw.categories, size=config.size, description=raw.description)
        write_json(data.annotations_file(split), coco, indent=None)
        counts[split] = split_counts(records, raw.categories)
    write_json(data.duplicates_file, duplicates_json(duplicates, images, config))
    findings = [*raw.findings, *quarantined, *_rescaled(images, results)]
    findings += label_findings({i: (images[i], r.label_turn) for i, r in results.items()})
    findings += raw_findings(raw)
    record = {
        "format": FORMAT,
        "class_names": [category.name for category in raw.categories],
        "image_size": config.size,
        "config": config.model_dump(mode="json"),
        "settings_hash": settings_hash(config),
        "input_hash": input_hash(
            raw, [results[i.id].sha256 if i.id in results else file_hash(i.path) for i in raw.images]
        ),
        "content_hash": content_hash(data, parts, {i: r.output_sha256 for i, r in results.items()}),
        "counts": counts,
        "leakage": leakage(parts, prints).to_json(),
        "findings": [asdict(finding) for finding in findings],
        "environment": software(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    write_json(data.record_file, record)


def _process_images(
    images: Mapping[int, ImageRecord], data: DataDir, config: PrepareConfig, on_progress: Tick | None
) -> tuple[dict[int, ImageResult], list[Finding]]:
    """Every image decoded once, written to ``images/`` and fingerprinted; and those that cannot be used."""
    folder = data.path / "images"
    folder.mkdir()
    jobs = [
        ImageJob(
            image.path,
            image.width,
            image.height,
            config.size,
            folder / output_name(image.id),
            hash_name=config.hash,
            hash_size=config.hash_size,
            labels=image.annotations if config.check_labels else (),
        )
        for image in images.values()
    ]
    work: Callable[[ImageJob], ImageResult | Unusable] = (
        process_or_say_why if config.quarantine else process_image
    )
    done = ordered_map(work, jobs, workers=config.workers, on_progress=on_progress, note="reading images")
    results, quarantined = {}, []
    for image, result in zip(images.values(), done, strict=True):
        if isinstance(result, Unusable):
            quarantined.append(Finding("quarantined", result.reason, image.file_name))
        else:
            results[image.id] = result
    if not results:
        raise DataError(f"not one of {len(images)} images can be used; the first: {quarantined[0].line}")
    return results, quarantined


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


def _fingerprint(image: ImageRecord, result: ImageResult) -> Fingerprint:
    return Fingerprint(
        image_id=image.id,
        sha256=result.sha256,
        phash=result.phash,
        thumbnail=result.thumbnail,
        pixel_count=image.width * image.height,
        box_count=len(image.annotations),
    )


def _rescaled(images: Mapping[int, ImageRecord], results: Mapping[int, ImageResult]) -> Iterator[Finding]:
    for image_id, image in images.items():
        if (size := results[image_id].stored_size) is not None:
            sizes = f"{size[0]}x{size[1]} pixels for {image.width}x{image.height} in the annotation file"
            yield Finding(
                "other_scale", f"{image.file_name}: {sizes}; boxes follow the scale", image.file_name
            )
