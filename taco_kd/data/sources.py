"""Where raw images come from: one line in ``SOURCES`` for each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from taco_kd.config import PrepareConfig
from taco_kd.data.class_merge import merge_classes
from taco_kd.data.coco import read_coco
from taco_kd.data.coco_folder import read_coco_folder
from taco_kd.data.parallel import worker_count
from taco_kd.data.recognise import recognise
from taco_kd.data.records import Finding, RawDataset
from taco_kd.data.synthetic import write_scenes
from taco_kd.data.taco import read_taco
from taco_kd.data.voc import read_voc
from taco_kd.data.yolo import read_yolo
from taco_kd.data.yolo_layout import IN_TWO_PARTS
from taco_kd.errors import DataError, UsageError
from taco_kd.progress import Tick

SourceName = Literal["synthetic", "coco", "taco", "yolo", "voc"]


def read_synthetic(config: PrepareConfig, scratch: Path, on_progress: Tick | None) -> RawDataset:
    """Scenes drawn into ``scratch``, with near-duplicates and turned images for the preparation to find."""
    tick = None if on_progress is None else (lambda done, total: on_progress(done, total, "drawing"))
    root = write_scenes(
        scratch,
        count=config.scenes,
        seed=config.seed,
        near_duplicates=max(1, config.scenes // 50),
        exif_turned=max(1, config.scenes // 25),
        workers=worker_count(config.workers, jobs=config.scenes),
        on_progress=tick,
    )
    return read_taco(root)


def read_coco_source(config: PrepareConfig, scratch: Path, on_progress: Tick | None) -> RawDataset:
    if config.root is not None:
        return read_coco_folder(config.root, clip_boxes=config.clip_boxes, skip_missing=config.quarantine)
    if config.images is None or config.annotations is None:
        raise UsageError("source coco needs --images FOLDER and --annotations FILE, or --root FOLDER")
    return read_coco(
        config.annotations, config.images, clip_boxes=config.clip_boxes, skip_missing=config.quarantine
    )


def read_taco_source(config: PrepareConfig, scratch: Path, on_progress: Tick | None) -> RawDataset:
    if config.root is None:
        raise UsageError("source taco needs --root FOLDER, the one that holds annotations.json and batch_*/")
    return read_taco(config.root, clip_boxes=config.clip_boxes, skip_missing=config.quarantine)


def read_yolo_source(config: PrepareConfig, scratch: Path, on_progress: Tick | None) -> RawDataset:
    if config.root is None:
        raise UsageError("source yolo needs --root FOLDER, the one that holds data.yaml or classes.txt")
    return read_yolo(config.root, clip_boxes=config.clip_boxes)


def read_voc_source(config: PrepareConfig, scratch: Path, on_progress: Tick | None) -> RawDataset:
    if config.root is None:
        raise UsageError("source voc needs --root FOLDER, the one that holds Annotations/ and JPEGImages/")
    return read_voc(config.root, clip_boxes=config.clip_boxes)


SOURCES: dict[SourceName, Callable[[PrepareConfig, Path, Tick | None], RawDataset]] = {
    "synthetic": read_synthetic,
    "coco": read_coco_source,
    "taco": read_taco_source,
    "yolo": read_yolo_source,
    "voc": read_voc_source,
}

_OPTIONS: dict[SourceName, tuple[str, ...]] = {
    "synthetic": (),
    "coco": ("images", "annotations", "root"),
    "taco": ("root",),
    "yolo": ("root",),
    "voc": ("root",),
}


def resolve(config: PrepareConfig) -> tuple[SourceName, str]:
    """The source that ``config`` means, and for ``auto`` with a root what it was recognised by.

    Raises:
        UsageError: options of different sources, or an option that the source has no use for.
        DataError: the root is no layout that is known.
    """
    given = [name for name in ("root", "images", "annotations") if getattr(config, name) is not None]
    flags = " and ".join(f"--{name}" for name in given)
    if config.source != "auto":
        strange = [name for name in given if name not in _OPTIONS[config.source]]
        if strange:
            raise UsageError(f"source {config.source} has no use for --{strange[0]}; leave out one of them")
    if "root" in given and len(given) > 1:
        raise UsageError(
            f"{flags} contradict: --root is a whole dataset, --images and --annotations are COCO"
        )
    if config.source != "auto":
        return config.source, ""
    if config.root is not None:
        return recognise(config.root)
    if len(given) == 1:
        other = "annotations" if given == ["images"] else "images"
        raise UsageError(f"{flags} without --{other}: a COCO dataset needs both")
    return ("coco" if given else "synthetic"), ""


def read_source(config: PrepareConfig, scratch: Path, on_progress: Tick | None) -> RawDataset:
    """The raw dataset of a resolved ``config``, with its classes merged and its parts chosen as it says.

    Args:
        scratch: a folder that a source may fill.

    Raises:
        UsageError: a path is missing from the settings, or no such class map.
        DataError: the data cannot be used.
    """
    if config.source == "auto":
        raise DataError("resolve the source first")
    raw = SOURCES[config.source](config, scratch, on_progress)
    if config.class_map is not None:
        raw = merge_classes(raw, config.class_map)
    return _own_parts(raw, config.source) if config.keep_split else raw


def _own_parts(raw: RawDataset, source: str) -> RawDataset:
    """``raw`` without the images that are in neither train nor val; test is val where there is no val."""
    if double := [f.line for f in raw.findings if f.kind == IN_TWO_PARTS]:
        raise DataError(f"{double[0]}; its split cannot be kept (leave out --keep-split)")
    images = raw.images
    if not any(image.part == "val" for image in images):
        images = tuple(replace(i, part="val") if i.part == "test" else i for i in images)
    kept = tuple(image for image in images if image.part in ("train", "val"))
    if {image.part for image in kept} != {"train", "val"}:
        raise DataError(
            f"--keep-split: the {source} source does not say which images are train and which val"
        )
    if len(kept) == len(images):
        return replace(raw, images=kept)
    line = f"--keep-split: {len(images) - len(kept)} images of neither train nor val are left out"
    return replace(raw, images=kept, findings=(*raw.findings, Finding("left_out", line)))
