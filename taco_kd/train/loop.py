"""The one training loop: baseline without a distiller, distillation with one. A generator of steps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from taco_kd.config import TrainConfig
from taco_kd.data.dataset import DetectionDataset, training_batch
from taco_kd.distill.recipe import Distiller
from taco_kd.errors import TacoKDError
from taco_kd.models.detector import Detector
from taco_kd.train.optim import lr_at, set_lr
from taco_kd.types import total

Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclass
class TrainState:
    """Everything that changes during a run; a checkpoint is exactly this."""

    student: Detector
    distiller: Distiller | None
    optimizer: torch.optim.Optimizer
    ema: AveragedModel | None
    step: int = 0
    """steps done"""

    def result(self) -> Detector:
        """The model that the run delivers: the moving average where there is one."""
        if self.ema is None:
            return self.student
        return cast(Detector, self.ema.module)


@dataclass(frozen=True)
class StepRecord:
    """One line of the log: ``terms`` as they enter the sum, ``raw`` distillation terms without weights."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    images_per_s: float
    terms: dict[str, float]
    raw: dict[str, float]
    pairs: int


def make_ema(student: Detector, decay: float) -> AveragedModel | None:
    """Moving average of the weights; batch-norm statistics, averages already, are copied.

    Averaging the statistics too keeps a trace of their initial variance of 1, which ruins layers whose true
    variance is 1e-6 (measured: AP 12.0 became 0.0). The decay rises with the steps for the same reason.
    """
    if decay == 0:
        return None

    @torch.no_grad()
    def average(kept: Tensors, new: Tensors, count: Tensor | int) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(kept, new, 1 - now)

    return AveragedModel(student, multi_avg_fn=average, use_buffers=False)


def steps(
    state: TrainState,
    dataset: DetectionDataset,
    config: TrainConfig,
    *,
    steps_total: int,
    device: torch.device,
) -> Iterator[StepRecord]:
    """Train until ``steps_total`` steps are done, yielding after each.

    Raises:
        TacoKDError: the loss is not finite; names the step and the terms.
    """
    student, distiller = state.student, state.distiller
    trained = [p for group in state.optimizer.param_groups for p in group["params"]]
    while state.step < steps_total:
        started = time.perf_counter()
        student.train()
        lr = lr_at(state.step, steps_total, config)
        set_lr(state.optimizer, lr)
        batch = training_batch(
            dataset,
            state.step,
            batch_size=config.batch_size,
            seed=config.seed,
            horizontal_flip=config.horizontal_flip,
        )
        images = batch.images.to(device, non_blocking=True).float() / 255
        targets = [t.to(device) for t in batch.targets]
        output = student(images, targets, with_features=distiller is not None and distiller.with_features)
        terms = dict(output.losses)
        raw, pairs = {}, 0
        if distiller is not None:
            distilled = distiller(output, distiller.teacher_output(images))
            terms |= distilled.weighted
            raw, pairs = distilled.raw, distilled.pairs
        loss = total(terms)
        if not math.isfinite(loss.item()):
            values = ", ".join(f"{k} {v.item():.3g}" for k, v in terms.items())
            raise TacoKDError(f"loss is not finite at step {state.step} ({values}); lower train.lr")
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(trained, config.clip_norm)
        state.optimizer.step()
        if state.ema is not None:
            state.ema.update_parameters(student)
        state.step += 1
        yield StepRecord(
            step=state.step,
            loss=loss.item(),
            lr=lr,
            grad_norm=float(norm),
            images_per_s=len(images) / (time.perf_counter() - started),
            terms={k: v.item() for k, v in terms.items()},
            raw={k: v.item() for k, v in raw.items()},
            pairs=pairs,
        )
