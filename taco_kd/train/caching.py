"""The teacher caches of a run: opened, sized up and told of before the first step."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from taco_kd.config import TrainConfig
from taco_kd.data.batches import Batches
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.sample import Reader
from taco_kd.distill.distiller import Distiller
from taco_kd.distill.lesson import Lesson
from taco_kd.distill.teacher_cache import Mode, Space, TeacherCache
from taco_kd.errors import UsageError
from taco_kd.models.detector import Detector
from taco_kd.models.weights import weights_hash
from taco_kd.progress import notice, warn
from taco_kd.runs import DataDir


def open_caches(
    distiller: Distiller,
    data: DataDir,
    dataset: DetectionDataset,
    config: TrainConfig,
    *,
    steps_total: int,
    device: torch.device,
) -> None:
    """Give each lesson that asks for it a cache, after a line that says what it will take on disk.

    Nothing is written yet.

    Raises:
        MissingResourceError: the disk has no room for what the run can ask.
        UsageError: the cache is a file, or cannot serve the pairing.
    """
    for place, lesson in enumerate(distiller.each()):
        cache = _cache_of(lesson, data, dataset)
        if cache is None:
            continue
        views, note = kept_views(config, dataset, steps_total, mode=cache.mode)
        if not views:
            warn(
                f"teacher cache {cache.folder}: nothing is ever kept, since in exact mode every image is "
                "augmented anew; set distill.cache_mode=replay, or distill.cache=off"
            )
        first = dataset.batch([Reader(dataset).read(0)[0]])
        estimate = cache.estimate(first, first.images.to(device).float() / 255, views=views, note=note)
        notice(estimate.line(cache.folder))
        estimate.require_room(cache.folder)
        distiller.caches[place] = cache


def kept_views(
    config: TrainConfig, dataset: DetectionDataset, steps_total: int, *, mode: Mode
) -> tuple[int, str]:
    """How many answers the run can keep at most, in expectation, and which it does not keep, in words."""
    augment, size = config.augment, min(config.batch_size, len(dataset))
    turned = 0 < config.horizontal_flip < 1 and mode == "exact"
    images = len(dataset) * (2 if turned else 1)
    if mode == "replay":
        mixed = [name for name in ("mosaic", "copy_paste") if getattr(augment, name)]
        note = f"Views made by {' and '.join(mixed)} are computed and not kept." if mixed else ""
        return min(images, steps_total * size), note
    if not augment.on:
        return min(images, steps_total * size), ""
    batches = Batches(dataset, config, steps_total)
    strong = batches.strong_steps
    plain = (1 - augment.zoom_out) * (1 - augment.mosaic) * (1 - augment.copy_paste)  # a crop may leave all
    at_own_side = sum(batches.side(step) == dataset.image_size for step in range(strong))
    views = (at_own_side * plain + steps_total - strong) * size * (1 - augment.photometric)
    return min(images, math.ceil(views)), "Augmented views are computed and not kept."


def folder_of(setting: str, data: DataDir) -> Path | None:
    """Where the answers are kept: None for ``off``, a folder beside the data for ``auto``."""
    if setting == "off":
        return None
    if setting == "auto":
        path = data.path.resolve()
        return path.parent / f"{path.name}.teacher-cache"
    return Path(setting)


def _cache_of(lesson: Lesson, data: DataDir, dataset: DetectionDataset) -> TeacherCache | None:
    config, teacher = lesson.config, lesson.teacher
    root = folder_of(config.cache, data)
    if root is None:
        return None
    maps = ["features"] * (lesson.feature_loss is not None) + ["attention"] * (
        lesson.attention_loss is not None
    )
    if maps and not config.cache_features:
        warn(
            f"teacher cache not used: the losses need {' and '.join(maps)} of {teacher.model_name}, so it is "
            "run anyway; keep them beside its predictions with distill.cache_features=true"
        )
        return None
    by_place = isinstance(teacher, Detector) and teacher.dense and config.pairing == "index"
    if config.cache_mode == "replay" and by_place:
        raise UsageError(
            "distill.cache_mode=replay does not go with distill.pairing=index and a dense teacher: in a "
            "mirrored image its places have another order; set distill.cache_mode=exact"
        )
    chosen = isinstance(teacher, Detector) and teacher.dense and lesson.needs_predictions and not by_place
    space = Space(
        teacher_hash=weights_hash(teacher.network),
        teacher=teacher.metadata(),
        stored=("predictions", *maps) if isinstance(teacher, Detector) else tuple(maps),
        queries="one per object" if chosen else "as they are",
        precision=config.cache_precision,
    )
    return TeacherCache(
        root,
        space,
        lesson.teacher_output,
        mode=config.cache_mode,
        stored_image=dataset.image,
        side=dataset.image_size,
    )
