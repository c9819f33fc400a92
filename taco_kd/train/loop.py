"""The one training loop: baseline without a distiller, distillation with one. A generator of steps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from taco_kd.config import TrainConfig
from taco_kd.data.batch import Batch
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.loading import training_batches
from taco_kd.errors import TacoKDError
from taco_kd.train.done import Done
from taco_kd.train.gradients import Gradients
from taco_kd.train.memory import peak_mb
from taco_kd.train.optim import lr_at, set_lr
from taco_kd.train.processes import Processes
from taco_kd.train.selfcheck import SelfCheck
from taco_kd.train.state import TrainState
from taco_kd.train.step import Stepper
from taco_kd.train.trouble import save_batch


@dataclass(frozen=True)
class StepRecord:
    """One line of the log, of all processes together.

    Attributes:
        terms: as they enter the sum.
        raw, weights: distillation terms without their weights, and the weights.
        pairs: pairs of queries of teacher and student.
        gradient_shares: of the distillation terms and of ``detection``, in the steps that measure them.
        data_wait_s, step_s: seconds that the step waited for its images, and that it took, these included.
        memory_mb: of the first process: peak of the GPU, or what the process holds.
        skipped: whether nothing was updated, because loss or gradient was not finite.
        micro_batch: images that a process handled at a time.
        quarantined: files that could not be read, in whose place other images were taken.
    """

    step: int
    loss: float | None
    lr: float
    grad_norm: float
    images_per_s: float
    terms: dict[str, float | None]
    raw: dict[str, float | None]
    weights: dict[str, float]
    pairs: int
    gradient_shares: dict[str, float] | None
    data_wait_s: float
    step_s: float
    memory_mb: float
    skipped: bool
    micro_batch: int
    quarantined: tuple[str, ...]


def steps(
    state: TrainState,
    dataset: DetectionDataset,
    config: TrainConfig,
    *,
    steps_total: int,
    device: torch.device,
    labels: bool = True,
    check: SelfCheck | None = None,
    processes: Processes | None = None,
    stopping: Callable[[], bool] = lambda: False,
    trouble: Path | None = None,
) -> Iterator[StepRecord]:
    """Train until ``steps_total`` steps are done, yielding after each.

    A step whose loss or gradient is not finite changes nothing and is counted.

    Args:
        labels: whether the detection loss is part of the sum.
        check: looks at the teachers' answers and the gradients of each step.
        processes: of the run; this one alone by default.
        stopping: whether this process was asked to stop; ends the steps in all processes after the same one.
        trouble: folder for a batch whose loss is not finite, when the run ends because of it.

    Raises:
        TacoKDError: too many losses in a row are not finite; names the step, the terms and the batch. Or
            the check found a fault, or memory is not enough for one image.
        LostProcessError: another process is gone.
    """
    processes = processes or Processes(device)
    gradients = Gradients(
        state, config, processes, steps_total=steps_total, labels=labels, check=check, stopping=stopping
    )
    work = Stepper(gradients)
    size = min(config.batch_size, len(dataset))
    batches = training_batches(
        dataset,
        config,
        first_step=state.step,
        steps_total=steps_total,
        rank=processes.rank,
        world=processes.world,
        pin_memory=processes.device.type == "cuda",
    )
    with contextlib.closing(batches):
        while state.step < steps_total:
            started = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - started
            lr = lr_at(state.step, steps_total, config)
            set_lr(state.optimizer, lr)
            done = work(batch)
            state.step += 1
            _count(state, done, batch, config, trouble if processes.first else None)
            seconds = time.perf_counter() - started
            yield StepRecord(
                step=state.step,
                loss=finite_or_none(done.loss),
                lr=lr,
                grad_norm=done.grad_norm,
                images_per_s=size / seconds,
                terms={name: finite_or_none(value) for name, value in done.terms.items()},
                raw={name: finite_or_none(value) for name, value in done.raw.items()},
                weights=done.weights,
                pairs=done.pairs,
                gradient_shares=done.gradient_shares,
                data_wait_s=waited,
                step_s=seconds,
                memory_mb=peak_mb(device),
                skipped=not done.finite or done.overflow,
                micro_batch=min(state.micro_batch or len(batch.images), len(batch.images)),
                quarantined=done.quarantined,
            )
            if done.stop:
                return


def _count(state: TrainState, done: Done, batch: Batch, config: TrainConfig, folder: Path | None) -> None:
    """Take note of a step without an update; end the run after too many in a row."""
    if done.finite:
        state.skipped_in_a_row = 0
        return
    state.skipped += 1
    state.skipped_in_a_row += 1
    if state.skipped_in_a_row <= config.max_skipped:
        return
    values = ", ".join(f"{name} {value:.3g}" for name, value in done.terms.items())
    saved = "" if folder is None else f"; the batch is in {save_batch(folder, state.step, batch, done.terms)}"
    raise TacoKDError(
        f"loss or gradient is not finite at step {state.step} ({values}), in {state.skipped_in_a_row} steps "
        f"in a row{saved}; lower train.lr, or set train.precision=float32"
    )


def finite_or_none(value: float) -> float | None:
    """For JSON, which knows no other numbers."""
    return value if abs(value) < float("inf") else None
