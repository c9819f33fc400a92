"""What a step found, put together from its micro-batches and processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from taco_kd.train.processes import Processes


@dataclass
class Done:
    """What a step found, in all processes together.

    Attributes:
        terms: as they enter the sum.
        raw, weights: distillation terms without their weights, and the weights.
        pairs: pairs of queries of teacher and student.
        gradient_shares: of the distillation terms and of ``detection``, in the steps that measure them.
        finite: whether loss and gradient are.
        overflow: whether the gradient was too large for fp16, so that the loss is scaled less from now on.
        grad_norm: before clipping; 0 where nothing was updated.
        stop: whether a process was asked to stop.
        quarantined: files that could not be read, in whose place other images were taken.
    """

    terms: dict[str, float]
    raw: dict[str, float]
    pairs: int
    finite: bool
    weights: dict[str, float] = field(default_factory=dict)
    gradient_shares: dict[str, float] | None = None
    overflow: bool = False
    grad_norm: float = 0.0
    stop: bool = False
    quarantined: tuple[str, ...] = ()

    @property
    def loss(self) -> float:
        return sum(self.terms.values())


def summed(parts: Sequence[Mapping[str, Tensor]], processes: Processes) -> Done:
    """The numbers of all micro-batches and processes, read once: until then nothing waits for a GPU.

    Args:
        parts: of each micro-batch, by the same names: ``term NAME``, ``raw NAME``, ``pairs``.
    """
    names = list(parts[0])
    table = torch.stack([torch.stack([part[name].double() for name in names]) for part in parts]).sum(0)
    values = dict(zip(names, processes.sums(table.tolist()), strict=True))
    kinds: dict[str, dict[str, float]] = {"term": {}, "raw": {}}
    for name, value in values.items():
        kind, _, rest = name.partition(" ")
        if rest:
            kinds[kind][rest] = value
    finite = all(math.isfinite(value) for value in kinds["term"].values())
    return Done(kinds["term"], kinds["raw"], int(values.get("pairs", 0)), finite)
