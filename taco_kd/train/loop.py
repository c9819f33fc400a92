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
from taco_kd.data.batch import Batch
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.loading import training_batches
from taco_kd.distill.distiller import Distiller, DistillTerms
from taco_kd.distill.lesson import Taught
from taco_kd.errors import TacoKDError
from taco_kd.models.detector import Detector
from taco_kd.train.optim import lr_at, set_lr
from taco_kd.train.selfcheck import SelfCheck
from taco_kd.types import DetectorOutput, Targets, total

SEED_STRIDE = 10_000_019
"""Between the seeds of two runs; larger than any number of steps."""

Tensors = tuple[Tensor, ...] | list[Tensor]

MEASURE_EVERY = 100
"""Gradient shares are measured in the first step and in every so many; to measure a term costs about as much
as half a step."""


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
    """One line of the log.

    Attributes:
        terms: as they enter the sum.
        raw, weights: distillation terms without their weights, and the weights.
        pairs: pairs of queries of teacher and student.
        gradient_shares: of the distillation terms and of ``detection``, in the steps that measure them.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    images_per_s: float
    terms: dict[str, float]
    raw: dict[str, float]
    weights: dict[str, float]
    pairs: int
    gradient_shares: dict[str, float] | None


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
    labels: bool = True,
    check: SelfCheck | None = None,
) -> Iterator[StepRecord]:
    """Train until ``steps_total`` steps are done, yielding after each.

    Args:
        labels: whether the detection loss is part of the sum.
        check: looks at the teachers' answers and the gradients of each step.

    Raises:
        TacoKDError: the loss is not finite; names the step and the terms. Or the check found a fault.
    """
    student = state.student
    trained = [p for group in state.optimizer.param_groups for p in group["params"]]
    batches = training_batches(dataset, config, first_step=state.step, steps_total=steps_total)
    while state.step < steps_total:
        started = time.perf_counter()
        student.train()
        lr = lr_at(state.step, steps_total, config)
        set_lr(state.optimizer, lr)
        batch = next(batches)
        images = batch.images.to(device, non_blocking=True).float() / 255
        targets = [t.to(device) for t in batch.targets]
        taught = _teach(state, batch, images, targets, seed=config.seed)
        if check is not None:
            for each in taught:
                check.teacher_output(each.output)
        output, distilled = _learn(state, taught, images, targets, labels=labels, steps_total=steps_total)
        terms = {**output.losses, **({} if distilled is None else distilled.weighted)}
        loss = total(terms)
        if not math.isfinite(loss.item()):
            values = ", ".join(f"{k} {v.item():.3g}" for k, v in terms.items())
            raise TacoKDError(f"loss is not finite at step {state.step} ({values}); lower train.lr")
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if check is not None:
            check.gradients(student.named_parameters(), step=state.step + 1)
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
            raw={k: v.item() for k, v in distilled.raw.items()} if distilled else {},
            weights=distilled.weights if distilled else {},
            pairs=distilled.pairs if distilled else 0,
            gradient_shares=distilled.gradient_shares if distilled else None,
        )


def _teach(
    state: TrainState, batch: Batch, images: Tensor, targets: list[Targets], *, seed: int
) -> list[Taught]:
    """What each teacher says of the batch: one forward of it, or none where its answers are kept."""
    if state.distiller is None:
        return []
    return state.distiller.teach(images, targets, seed=seed * SEED_STRIDE + state.step, batch=batch)


def _learn(
    state: TrainState,
    taught: list[Taught],
    images: Tensor,
    targets: list[Targets],
    *,
    labels: bool,
    steps_total: int,
) -> tuple[DetectorOutput, DistillTerms | None]:
    """One forward of the student; what it answers, and the distillation terms."""
    student, distiller = state.student, state.distiller
    wanted = targets if labels else None
    if distiller is None:
        return student(images, wanted), None
    if not labels and distiller.features_only:
        output = student.backbone_output(images)
    else:
        output = student(images, wanted, **distiller.asks(taught))
    measure = state.step % MEASURE_EVERY == 0
    return output, distiller(output, taught, step=state.step, steps_total=steps_total, measure=measure)
