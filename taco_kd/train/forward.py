"""The forward pass of a micro-batch: teachers, student, and the terms that compare them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from taco_kd.config import TrainConfig
from taco_kd.data.batch import Batch
from taco_kd.distill.distiller import Compared
from taco_kd.distill.lesson import Taught
from taco_kd.train.selfcheck import SelfCheck
from taco_kd.train.state import TrainState
from taco_kd.types import DetectorOutput, Targets

SEED_STRIDE = 10_000_019
"""Between the seeds of two runs; larger than any number of steps."""

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Part:
    """The forward pass of a micro-batch, and which share of the step its terms are."""

    output: DetectorOutput
    compared: Compared | None
    detection_share: float
    image_share: float

    def divisors(self) -> list[float]:
        """What its losses were divided by, as far as only predictions tell."""
        told = self.output.divisor
        own = [0.0 if told is None else float(told)]
        if self.compared is not None:
            own += [value for term in self.compared.by_layer.values() for value in term.divisors.tolist()]
        return own

    def counted(self, own: Sequence[float], whole: Sequence[float]) -> Part:
        """With shares by these divisors: its ``own``, and those of the ``whole`` step."""
        detection, compared = self.detection_share, self.compared
        if self.output.divisor is not None:
            detection = max(1.0, own[0]) / max(1.0, whole[0])
        if compared is not None:
            parts = list(zip(own, whole, strict=True))[1:]
            shares = iter([mine / of_all / self.image_share if of_all else 0.0 for mine, of_all in parts])
            by_name = {
                name: term.values.new_tensor([next(shares) for _ in term.divisors])
                for name, term in compared.by_layer.items()
            }
            compared = compared.counted(by_name)
        return replace(self, detection_share=detection, compared=compared)


class Forward:
    """The passes of a run.

    Args:
        labels: whether the detection loss is part of the sum.
        check: looks at the teachers' answers.
    """

    def __init__(
        self,
        state: TrainState,
        config: TrainConfig,
        device: torch.device,
        *,
        labels: bool,
        check: SelfCheck | None,
    ) -> None:
        self._state, self._config, self._device = state, config, device
        self._labels, self._check = labels, check

    def __call__(self, batch: Batch, images: float, boxes: float) -> Part:
        """The pass of ``batch``, a part of a step with so many ``images`` and ``boxes`` in all."""
        state, device = self._state, self._device
        pixels = batch.images.to(device, non_blocking=True).float().div_(255)
        if self._config.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        targets = [t.to(device) for t in batch.targets]
        wanted = targets if self._labels else None
        compared = None
        with self._autocast():
            if state.distiller is None:
                output = state.student(pixels, wanted)
            else:
                taught = self._teach(batch, pixels, targets)
                if not self._labels and state.distiller.features_only:
                    output = state.student.backbone_output(pixels)
                else:
                    output = state.student(pixels, wanted, **state.distiller.asks(taught))
                compared = state.distiller.compare(output, taught)
        own = max(1.0, state.student.normaliser(batch.targets))
        return Part(output, compared, own / boxes, len(batch.images) / images)

    def _teach(self, batch: Batch, images: Tensor, targets: list[Targets]) -> list[Taught]:
        """What each teacher says of the batch: one forward of it, or none where its answers are kept."""
        assert self._state.distiller is not None
        seed = self._config.seed * SEED_STRIDE + self._state.step
        taught = self._state.distiller.teach(images, targets, seed=seed, batch=batch)
        if self._check is not None:
            for each in taught:
                self._check.teacher_output(each.output)
        return taught

    def _autocast(self) -> AbstractContextManager[None]:
        dtype = PRECISIONS.get(self._config.precision)
        return torch.autocast(self._device.type, dtype, enabled=dtype is not None)
