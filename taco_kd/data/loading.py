"""Batches made ahead of the training loop, in background processes or in this one; the same to the bit."""

from __future__ import annotations

import os
import pickle
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from taco_kd.config import TrainConfig
from taco_kd.data.batch import Batch
from taco_kd.data.batches import Batches
from taco_kd.data.dataset import CACHE_BYTES, DetectionDataset
from taco_kd.data.loading_process import METHOD, begin, held_back, warm_up
from taco_kd.data.parallel import usable_cores
from taco_kd.errors import TacoKDError
from taco_kd.types import Targets

MOST_WORKERS = 8
"""More processes are started only when ``train.workers`` asks for them."""
AHEAD = 2
"""Batches that each process makes ahead."""
HEAD_START = 2
"""Steps whose batches are made in the training process itself, while the others start."""


def training_batches(
    dataset: DetectionDataset,
    config: TrainConfig,
    *,
    first_step: int,
    steps_total: int,
    rank: int = 0,
    world: int = 1,
    pin_memory: bool = False,
) -> Generator[Batch, None, None]:
    """The batches of the steps ``first_step`` to before ``steps_total``, in order.

    ``train.workers`` processes make them; how many changes nothing about them. They end when the iterator is
    closed (``contextlib.closing``) or this process ends, however it ends.

    Args:
        rank, world: which process this is, of how many: each gets a contiguous part of every batch, which
            may be empty.
        pin_memory: put the images into page-locked memory, from which they reach a GPU faster.

    Raises:
        UsageError: augmentation that the data or the length of the run does not allow, before any batch.
        DataError: not one image can be read.
        TacoKDError: a loading process was killed.
    """
    batches = Batches(dataset, config, steps_total, rank, world)
    steps = range(first_step, steps_total)
    workers = min(worker_count(dataset, config, world), max(0, len(steps) - HEAD_START))
    if workers == 0:
        return (_pinned(batches.batch(step), pin_memory) for step in steps)
    return _from_processes(batches, steps, workers, pin_memory)


def worker_count(dataset: DetectionDataset, config: TrainConfig, world: int = 1) -> int:
    """How many processes load for this one: ``train.workers``, or as many as seem to be of use.

    None where every image is decoded once and then at most mirrored; else one per core but one, shared with
    the other training processes of this machine.
    """
    if config.workers is not None:
        return config.workers
    if not config.augment.on and dataset.decoded_bytes <= CACHE_BYTES:
        return 0
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    return max(0, min(MOST_WORKERS, usable_cores() // max(1, here) - 1))


def _from_processes(
    batches: Batches, steps: range, workers: int, pin_memory: bool
) -> Generator[Batch, None, None]:
    loader = DataLoader(
        _Steps(batches, CACHE_BYTES // workers),
        sampler=steps[HEAD_START:],
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        worker_init_fn=begin,
        prefetch_factor=AHEAD,
        multiprocessing_context=METHOD,
    )
    warm_up()
    with held_back():
        packed = iter(loader)
    try:
        for step in steps[:HEAD_START]:
            yield _pinned(batches.batch(step), pin_memory)
        for _ in steps[HEAD_START:]:
            try:
                found = next(packed)
            except (RuntimeError, OSError, EOFError) as error:
                if str(error).startswith("Caught "):  # a fault of ours in a loading process, shown whole
                    raise
                reason = (str(error) or type(error).__name__).splitlines()[0]
                raise TacoKDError(
                    f"a process that loads images is gone ({reason}), perhaps for want of memory or of "
                    "shared memory (/dev/shm); lower train.workers"
                ) from None
            if isinstance(found, TacoKDError):
                raise found
            yield _unpacked(found)
    finally:
        del packed  # tells the processes to end, and waits for them


Facts = tuple[list[int], list[int], tuple[Any, ...]]
Packed = tuple[Tensor, Tensor, Tensor, Facts]
"""Images; boxes and classes of all of them; objects in each, ids, and the rest of the batch. Each tensor
travels in shared memory of its own, so there are few."""


class _Steps(Dataset[Packed | TacoKDError]):
    """Batches by the number of their step, in a loading process.

    It is sent there as one block in shared memory: what goes through the pipe of a new process, beyond the
    64 kB that this holds, makes the sender wait until the other has imported everything.
    """

    def __init__(self, batches: Batches, cache_bytes: int) -> None:
        self._block = torch.frombuffer(bytearray(pickle.dumps(batches)), dtype=torch.uint8)
        self._cache_bytes = cache_bytes
        self._batches: Batches | None = None

    def __getitem__(self, step: int) -> Packed | TacoKDError:
        if self._batches is None:
            self._batches = pickle.loads(self._block.numpy().tobytes())
            self._batches.dataset.keep_in_memory(self._cache_bytes)
        try:
            return _packed(self._batches.batch(step))
        except TacoKDError as error:  # as a value: raised here it would arrive with a traceback in its text
            return error


def _packed(batch: Batch) -> Packed:
    boxes = torch.cat([torch.zeros(0, 4), *(t.boxes_cxcywh for t in batch.targets)])
    classes = torch.cat([torch.zeros(0, dtype=torch.long), *(t.class_ids for t in batch.targets)])
    counts, ids = [len(t.class_ids) for t in batch.targets], [t.image_id for t in batch.targets]
    rest = (
        batch.positions,
        batch.mirrored,
        batch.indices,
        batch.augmented,
        batch.windows,
        batch.quarantined,
    )
    return batch.images, boxes, classes, (counts, ids, rest)


def _unpacked(packed: Packed) -> Batch:
    images, boxes, classes, (counts, ids, rest) = packed
    parts = zip(torch.split(boxes, counts), torch.split(classes, counts), ids, strict=True)
    return Batch(images, [Targets(*each) for each in parts], *rest)


def _as_it_is(batch: Any) -> Any:
    return batch


def _pinned(batch: Batch, pin_memory: bool) -> Batch:
    return replace(batch, images=batch.images.pin_memory()) if pin_memory else batch
