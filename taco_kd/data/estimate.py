"""What a preparation would do, and an estimate of its time and disk from a few images, without making it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from taco_kd.config import PrepareConfig
from taco_kd.data.images import ImageJob, process_image
from taco_kd.data.named_ids import named_ids
from taco_kd.data.parallel import worker_count
from taco_kd.data.parts import check_split, fixed_val_ids
from taco_kd.data.records import ImageRecord, RawDataset
from taco_kd.data.sources import read_source, resolve
from taco_kd.progress import Tick
from taco_kd.runs import Split

TRIED = 8
"""Images that are prepared to see how long one takes and how large it gets."""
_BYTES_BESIDE_IMAGES = 400
"""For each image and each box: its lines in the COCO and YOLO files, roughly."""


@dataclass(frozen=True)
class Plan:
    """Counts before duplicates are taken out, and the estimate.

    Attributes:
        images: in each split, if there were no duplicates.
        seconds: of decoding, hashing and writing with ``workers`` processes; drawing scenes comes on top.
        disk_bytes: of the prepared dataset.
        free_bytes: on the disk it would be written to.
    """

    source: str
    images_read: int
    boxes: int
    classes: int
    images: Mapping[Split, int]
    workers: int
    seconds: float
    disk_bytes: int
    free_bytes: int
    merged: Sequence[Mapping[str, Any]]
    findings: Sequence[Mapping[str, str]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def plan(config: PrepareConfig, out: Path, *, on_progress: Tick | None = None) -> Plan:
    """The plan for ``config`` in ``out``; prepares ``TRIED`` images in a temporary folder.

    Raises:
        UsageError, DataError: what would stop the preparation, as far as it shows without decoding all.
    """
    check_split(config)
    config = config.model_copy(update={"source": resolve(config)[0]})
    with tempfile.TemporaryDirectory(prefix="taco-kd-") as name:
        few = config
        if config.source == "synthetic":  # all scenes cost the same: draw a few
            few = config.model_copy(update={"scenes": min(config.scenes, TRIED)})
        started = time.perf_counter()
        raw = read_source(few, Path(name) / "raw", None)
        drawing_s = time.perf_counter() - started if config.source == "synthetic" else 0.0
        seconds, size = _try(raw.images, config, Path(name), on_progress)
    count = config.scenes + max(1, config.scenes // 50) if config.source == "synthetic" else len(raw.images)
    boxes = sum(len(image.annotations) for image in raw.images)
    boxes = round(boxes * count / len(raw.images))
    workers = worker_count(config.workers, jobs=count)
    return Plan(
        source=config.source,
        images_read=count,
        boxes=boxes,
        classes=len(raw.categories),
        images=_split_sizes(config, raw, count),
        workers=workers,
        seconds=round(count * (seconds + drawing_s / len(raw.images)) / workers, 1),
        disk_bytes=round(count * (size + _BYTES_BESIDE_IMAGES) + boxes * _BYTES_BESIDE_IMAGES),
        free_bytes=shutil.disk_usage(_existing(out)).free,
        merged=[asdict(row) for row in raw.merged],
        findings=[asdict(finding) for finding in raw.findings],
    )


def _try(
    images: Sequence[ImageRecord], config: PrepareConfig, scratch: Path, on_progress: Tick | None
) -> tuple[float, float]:
    """Mean seconds and bytes of an image, over images spread evenly through the dataset."""
    step = max(1, len(images) // TRIED)
    chosen = images[::step][:TRIED]
    seconds, sizes = [], []
    for number, image in enumerate(chosen, start=1):
        target = scratch / "tried.jpg"
        started = time.perf_counter()
        process_image(ImageJob(image.path, image.width, image.height, config.size, target, config.mode))
        seconds.append(time.perf_counter() - started)
        sizes.append(target.stat().st_size)
        if on_progress is not None:
            on_progress(number, len(chosen), "trying images")
    return mean(seconds), mean(sizes)


def _split_sizes(config: PrepareConfig, raw: RawDataset, count: int) -> dict[Split, int]:
    if config.ids is not None or config.keep_split:
        named = named_ids(config.ids, raw.images) if config.ids is not None else frozenset[int]()
        val = len(fixed_val_ids(config, raw.images, named))
    elif config.kfold is not None:
        val = round(count / config.kfold)
    else:
        val = count - round(config.train_ratio * count)
    return {"train": count - val, "val": val}


def _existing(path: Path) -> Path:
    path = path.resolve()
    return next(folder for folder in (path, *path.parents) if folder.exists())
