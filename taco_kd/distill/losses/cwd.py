"""Channel-wise distillation: Shu et al., ICCV 2021, arXiv:2011.13256."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from taco_kd.distill.losses.maps import MapLoss
from taco_kd.types import FeatureSpec


class CWD(MapLoss):
    """Each channel is a distribution over places; its KL divergence from the teacher's is minimised.

    phi(F)_k = softmax over H x W of F_k / tau;
    L = sum over stages of tau^2 mean over B, K of sum over places of phi(F^T) log(phi(F^T) / phi(F^S)).

    Zero where each channel differs from the teacher's by a constant at most: only where a channel fires
    counts, not how strongly on the whole.

    Args:
        temperature: tau; the higher it is, the more places of a channel count.

    Raises:
        ValueError: a temperature that is not positive.
    """

    def __init__(
        self,
        student: Sequence[FeatureSpec],
        teacher: Sequence[FeatureSpec],
        *,
        temperature: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        if temperature <= 0:
            raise ValueError(f"temperature {temperature} must be positive")
        self.temperature = temperature

    def stage(self, own: Tensor, wanted: Tensor, index: int) -> Tensor:
        log_own = F.log_softmax(own.flatten(2) / self.temperature, dim=-1)  # [B, K, H*W]
        log_wanted = F.log_softmax(wanted.flatten(2) / self.temperature, dim=-1)
        divergence = F.kl_div(log_own, log_wanted, reduction="sum", log_target=True)
        return self.temperature**2 * divergence / (own.shape[0] * own.shape[1])
