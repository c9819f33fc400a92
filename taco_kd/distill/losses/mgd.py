"""Masked generative distillation: Yang et al. (MGD), ECCV 2022, arXiv:2205.01529."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taco_kd.distill.losses.maps import MapLoss
from taco_kd.types import FeatureSpec


class MGD(MapLoss):
    """The teacher's whole map is to be generated from what is left of the student's after random masking.

    M = 0 at a place with probability ``mask_ratio``, else 1, for all channels of it alike;
    G = Conv3x3, ReLU, Conv3x3 (one for each stage, trained with the student);
    L = sum over stages of mean over B, K, H, W of (F^T - G(M * Conv1x1(F^S)))^2.

    The paper sums where this takes the mean, and makes up for it by its weight. Not zero at teacher =
    student: the floor is what the generator cannot restore of the masked places. The mask is drawn from
    torch's default generator of the map's device.

    Args:
        mask_ratio: lambda; the paper takes 0.65 for detectors.

    Raises:
        ValueError: a ratio outside 0..1.
    """

    def __init__(
        self,
        student: Sequence[FeatureSpec],
        teacher: Sequence[FeatureSpec],
        *,
        mask_ratio: float = 0.65,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        if not 0 <= mask_ratio < 1:
            raise ValueError(f"mask_ratio {mask_ratio} must be at least 0 and below 1")
        self.mask_ratio = mask_ratio
        widths = [teacher[wanted].channels for _, wanted in self.pairs]
        self.generators = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, kernel_size=3, padding=1),
                nn.ReLU(),
                nn.Conv2d(width, width, kernel_size=3, padding=1),
            )
            for width in widths
        )

    def stage(self, own: Tensor, wanted: Tensor, index: int) -> Tensor:
        batch, _, height, width = own.shape
        kept = torch.rand(batch, 1, height, width, device=own.device) >= self.mask_ratio
        generated = self.generators[index](own * kept)
        return F.mse_loss(generated.to(own.dtype), wanted)
