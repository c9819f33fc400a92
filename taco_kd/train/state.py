"""Everything that changes during a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from taco_kd.distill.distiller import Distiller
from taco_kd.models.detector import Detector

Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclass
class TrainState:
    """What a step changes; a checkpoint is exactly this.

    Attributes:
        step: steps done, skipped ones among them.
        scaler: of the loss, where gradients are computed in fp16.
        micro_batch: images that a process handles at a time; None is all of its share.
        skipped: steps without an update, because loss or gradient was not finite.
        skipped_in_a_row: those since the last update.
    """

    student: Detector
    distiller: Distiller | None
    optimizer: torch.optim.Optimizer
    ema: AveragedModel | None
    step: int = 0
    scaler: torch.amp.GradScaler | None = None
    micro_batch: int | None = None
    skipped: int = 0
    skipped_in_a_row: int = 0

    def result(self) -> Detector:
        """The model that the run delivers: the moving average where there is one."""
        if self.ema is None:
            return self.student
        return cast(Detector, self.ema.module)


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
