"""Write synthetic scenes as a dataset in TACO's official layout."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from taco_kd.data.synthetic.coco import IMAGES_PER_BATCH, ImageRecord, document, file_name, scaled
from taco_kd.data.synthetic.scene import draw_scene

ANNOTATIONS = "annotations.json"
PLANTED = "planted.json"

_QUALITY, _TWIN_QUALITY = 92, 70
_TWIN_SCALE, _TWIN_BRIGHTNESS = 1.02, 1.06
_ORIENTATION_TAG = 0x0112
# EXIF orientation -> how upright pixels are stored so that a viewer turns them back.
_STORED_TURN = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class _Job:
    """One image to write; `twin` makes it a near-duplicate, `orientation` turns its pixels (EXIF)."""

    path: Path
    scene_seed: int
    width: int
    height: int
    orientation: int = 1
    twin: bool = False


def scene_seed(seed: int, index: int) -> int:
    """Return the seed of scene `index` of the dataset `seed`: 128 bits, so that none is shared."""
    words = np.random.SeedSequence((seed, index)).generate_state(4, np.uint32)
    return sum(int(word) << (32 * i) for i, word in enumerate(words))


def write_scenes(
    root: Path,
    *,
    count: int,
    seed: int,
    near_duplicates: int = 0,
    exif_turned: int = 0,
    width: int = 640,
    height: int = 480,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw `count` scenes into `root` and return `root`.

    `near_duplicates` of them are written a second time, under ids from `count` on: 2 % larger, a little
    brighter, JPEG quality 70.  `exif_turned` of the first `count` images are stored turned, with the EXIF
    orientation that shows them upright; the JSON always holds upright sizes and boxes.  `planted.json` says
    which ones.  `on_progress(done, total)` is called in this process after each image.

    The bytes depend on the arguments alone, not on `workers`; scene k depends on (`seed`, k) and the size.
    `annotations.json` comes last and at once: a folder that has it is complete.

    Raises `ValueError` for counts that make no sense and `FileExistsError` where `root` already holds an
    `annotations.json`, which may be somebody's real dataset.
    """
    if count < 1 or workers < 1 or seed < 0:
        raise ValueError(
            f"count and workers must be at least 1 and seed at least 0: {count}, {workers}, {seed}"
        )
    if not (0 <= near_duplicates <= count and 0 <= exif_turned <= count):
        raise ValueError(f"near_duplicates and exif_turned must lie between 0 and count = {count}")
    root = Path(root)
    if (root / ANNOTATIONS).exists():
        raise FileExistsError(f"{root / ANNOTATIONS} exists; choose an empty folder or delete it first")

    originals, turns = _choose_planted(count, seed, near_duplicates, exif_turned)
    jobs = [
        _Job(root / file_name(k), scene_seed(seed, k), width, height, orientation=turns.get(k, 1))
        for k in range(count)
    ]
    jobs += [
        _Job(root / file_name(count + i), scene_seed(seed, k), width, height, twin=True)
        for i, k in enumerate(originals)
    ]
    for batch in range(0, len(jobs), IMAGES_PER_BATCH):
        jobs[batch].path.parent.mkdir(parents=True, exist_ok=True)

    records: list[ImageRecord] = []
    with contextlib.closing(_written(jobs, workers)) as written:
        for record in written:
            records.append(record)
            if on_progress is not None:
                on_progress(len(records), len(jobs))
    duplicates = [[k, count + i] for i, k in enumerate(originals)]
    _write_json(root / PLANTED, {"exif": {str(k): turns[k] for k in sorted(turns)}, "duplicates": duplicates})
    _write_json(root / ANNOTATIONS, document(records, count=count, seed=seed))
    return root


def _choose_planted(
    count: int, seed: int, near_duplicates: int, exif_turned: int
) -> tuple[list[int], dict[int, int]]:
    """Choose the scenes to write twice and the EXIF orientation of those to turn, by scene number."""
    rng = np.random.Generator(np.random.PCG64(scene_seed(seed, count)))
    originals = sorted(int(k) for k in rng.permutation(count)[:near_duplicates])
    turned = sorted(int(k) for k in rng.permutation(count)[:exif_turned])
    kinds = tuple(_STORED_TURN)
    return originals, {k: kinds[i % len(kinds)] for i, k in enumerate(turned)}


def _written(jobs: Sequence[_Job], workers: int) -> Generator[ImageRecord, None, None]:
    """Write every image and yield its record, in the order of `jobs`."""
    if workers == 1:
        yield from map(_write_image, jobs)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(_write_image, jobs, chunksize=8)
    finally:
        # Closed early (an error or Ctrl-C in the caller): what has not begun is dropped.
        pool.shutdown(wait=True, cancel_futures=True)


def _write_image(job: _Job) -> ImageRecord:
    """Draw and save one image; runs in a worker process."""
    scene = draw_scene(job.scene_seed, width=job.width, height=job.height)
    image, objects, options = scene.image, scene.objects, {"quality": _QUALITY}
    record_size = image.size
    if job.twin:
        record_size = (round(job.width * _TWIN_SCALE), round(job.height * _TWIN_SCALE))
        image = image.resize(record_size, Image.Resampling.BICUBIC)
        image = ImageEnhance.Brightness(image).enhance(_TWIN_BRIGHTNESS)
        x, y = record_size[0] / job.width, record_size[1] / job.height
        objects, options = [scaled(item, x, y) for item in objects], {"quality": _TWIN_QUALITY}
    exif = Image.Exif()
    if job.orientation != 1:
        image = image.transpose(_STORED_TURN[job.orientation])
        exif[_ORIENTATION_TAG] = job.orientation
    image.save(job.path, "JPEG", exif=exif, **options)
    return ImageRecord(*record_size, scene.ground, objects)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON to a temporary file beside `path`, then put it in place at once."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
