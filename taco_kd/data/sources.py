"""Where raw images come from: one line in ``SOURCES`` for each kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from taco_kd.config import PrepareConfig
from taco_kd.data.coco import read_coco
from taco_kd.data.parallel import worker_count
from taco_kd.data.records import RawDataset
from taco_kd.data.synthetic import write_scenes
from taco_kd.data.taco import read_taco
from taco_kd.errors import DataError, UsageError
from taco_kd.progress import Tick

SourceName = Literal["synthetic", "coco", "taco"]


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
    if config.images is None or config.annotations is None:
        raise UsageError("source coco needs --images FOLDER and --annotations FILE")
    return read_coco(
        config.annotations, config.images, clip_boxes=config.clip_boxes, skip_missing=config.quarantine
    )


def read_taco_source(config: PrepareConfig, scratch: Path, on_progress: Tick | None) -> RawDataset:
    if config.root is None:
        raise UsageError("source taco needs --root FOLDER, the one that holds annotations.json and batch_*/")
    return read_taco(config.root, clip_boxes=config.clip_boxes, skip_missing=config.quarantine)


SOURCES: dict[SourceName, Callable[[PrepareConfig, Path, Tick | None], RawDataset]] = {
    "synthetic": read_synthetic,
    "coco": read_coco_source,
    "taco": read_taco_source,
}

_OPTIONS: dict[SourceName, tuple[str, ...]] = {
    "synthetic": (),
    "coco": ("images", "annotations"),
    "taco": ("root",),
}


def resolve(config: PrepareConfig) -> SourceName:
    """The source that ``config`` means; ``auto`` is recognised by the paths that were given.

    Raises:
        UsageError: options of different sources, or an option that the source has no use for.
    """
    given = [name for name in ("root", "images", "annotations") if getattr(config, name) is not None]
    flags = " and ".join(f"--{name}" for name in given)
    if config.source != "auto":
        strange = [name for name in given if name not in _OPTIONS[config.source]]
        if strange:
            raise UsageError(f"source {config.source} has no use for --{strange[0]}; leave out one of them")
        return config.source
    if "root" in given and len(given) > 1:
        raise UsageError(f"{flags} contradict: --root is TACO's layout, --images and --annotations are COCO")
    if "root" in given:
        return "taco"
    if len(given) == 1:
        other = "annotations" if given == ["images"] else "images"
        raise UsageError(f"{flags} without --{other}: a COCO dataset needs both")
    return "coco" if given else "synthetic"


def read_source(config: PrepareConfig, scratch: Path, on_progress: Tick | None) -> RawDataset:
    """The raw dataset of a resolved ``config``; ``scratch`` is a folder that a source may fill.

    Raises:
        UsageError: a path is missing from the settings.
        DataError: the data cannot be used.
    """
    if config.source == "auto":
        raise DataError("resolve the source first")
    return SOURCES[config.source](config, scratch, on_progress)
