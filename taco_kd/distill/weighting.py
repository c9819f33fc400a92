"""Weights of the distillation terms over a run: fixed, calibrated by gradient norms, and scheduled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from taco_kd.config import DistillConfig

DETECTION = "detection"
"""Name of the whole detection loss among the gradient norms and shares."""

NEW_SHARE = 0.5
"""Weight of a new measurement in the moving average, once there are a few."""


def schedule(config: DistillConfig, progress: float) -> float:
    """Factor of all weights at ``progress`` (0..1 of the run): linear warm-up, then 1, then the decay."""
    factor = min(1.0, progress / config.warmup) if config.warmup else 1.0
    if config.decay == "none":
        return factor
    fallen = min(1.0, max(0.0, (progress - (1 - config.decay_share)) / config.decay_share))
    return factor * (1 - fallen if config.decay == "linear" else 0.5 * (1 + math.cos(math.pi * fallen)))


def _interval(step: int, config: DistillConfig) -> int:
    """Steps between two measurements: ten times as often in the beginning, when gradients change fast."""
    early = step < config.calibration_steps * 10
    return min(config.calibrate_every, config.calibration_steps) if early else config.calibrate_every


def gradient_norms(terms: Mapping[str, Tensor], shared: Sequence[Tensor]) -> dict[str, float]:
    """L2 norm of the gradient of each term with respect to ``shared``; 0 for a term that does not reach it.

    ``shared`` are the student's backbone maps: the representation that all terms have in common, whose
    gradient costs no pass through the backbone (Sener and Koltun, arXiv:1810.04650, section 3.3). The graph
    is kept.
    """
    wanted = [tensor for tensor in shared if tensor.requires_grad]
    norms = {}
    for name, term in terms.items():
        found: Sequence[Tensor | None] = ()
        if term.requires_grad and wanted:
            found = torch.autograd.grad(term, wanted, retain_graph=True, allow_unused=True)
        squares = [g.double().square().sum() for g in found if g is not None]
        norms[name] = math.sqrt(float(torch.stack(squares).sum())) if squares else 0.0
    return norms


class Weighting(nn.Module):
    """The weight of each term at any moment of a run. What it has measured travels with the checkpoint.

    Calibrated weights give each term a share s of the sum of the weighted gradient norms, the detection loss
    having what the shares leave of 1:

        w_i = s_i / (1 - sum_j s_j) * |g_detection| / |g_i|

    So the losses' own scales, which differ by orders of magnitude, do not matter. The norms are averages over
    the first steps in which the term was not zero, and from then on moving averages over the steps that are
    measured: the gradient that a detection loss sends to an untrained backbone is hundreds of times smaller
    than some steps later, and a weight found there and kept would be next to nothing. No weight exceeds
    ``max_weight``: box heads begin as zero, so that a box term hardly reaches the maps at first, and would
    get a weight of thousands, which its heads feel in full (measured: 10,040, and the detection loss rose).

    Args:
        settings: of each term's lesson, by name of the term.
        fixed: weight of each term, with the weight of its lesson in it.
        shares: of the calibrated terms.
    """

    def __init__(
        self,
        settings: Mapping[str, DistillConfig],
        fixed: Mapping[str, float],
        shares: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.settings, self.fixed, self.shares = dict(settings), dict(fixed), dict(shares)
        self._norms: dict[str, list[float]] = {name: [0.0, 0.0] for name in shares}  # detection, the term
        self._counts: dict[str, int] = dict.fromkeys(shares, 0)

    def wants_norms(self, step: int) -> bool:
        """Whether the gradient norms of ``step``, from 0, are to be measured."""
        return any(
            count < self.settings[name].calibration_steps or step % _interval(step, self.settings[name]) == 0
            for name, count in self._counts.items()
        )

    def observe(self, norms: Mapping[str, float]) -> None:
        """Take in the norms of one step; a term whose gradient is zero says nothing about its scale."""
        for name, count in self._counts.items():
            if norms[name] > 0 and norms[DETECTION] > 0:
                new = max(NEW_SHARE, 1 / (count + 1))
                for place, norm in enumerate((norms[DETECTION], norms[name])):
                    self._norms[name][place] += new * (norm - self._norms[name][place])
                self._counts[name] = count + 1

    def weight(self, name: str, progress: float) -> float:
        """Weight of a term at ``progress``, 0..1 of the run."""
        return schedule(self.settings[name], progress) * self._base(name)

    def _base(self, name: str) -> float:
        if name not in self.shares:
            return self.fixed[name]
        detection, own = self._norms[name]
        if own == 0:
            return 0.0
        found = self.shares[name] / (1 - sum(self.shares.values())) * detection / own
        return min(found, self.settings[name].max_weight)

    def measured(self) -> dict[str, Any]:
        """What the weights come from, as of now; ``set_extra_state`` takes it back."""
        return {"norms": {name: list(pair) for name, pair in self._norms.items()}, "counts": {**self._counts}}

    def get_extra_state(self) -> dict[str, Any]:
        return self.measured()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._norms = {name: list(pair) for name, pair in state["norms"].items()}
        self._counts = dict(state["counts"])
