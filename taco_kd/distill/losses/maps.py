"""What every loss between feature maps shares: paired levels, 1x1 projections, one size, one sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taco_kd.distill.losses.levels import Rule, pair_levels
from taco_kd.distill.losses.precision import full
from taco_kd.types import FeatureMap, FeatureSpec


class MapLoss(nn.Module):
    """sum over stages i of stage(Conv1x1_i(F_i^S), Interpolate(F_i^T)); a subclass says what ``stage`` is.

    The 1x1 projections to the teacher's channels belong to this module and are trained with the student.

    Args:
        student, teacher: the levels of the two models, fine to coarse.
        levels: which of them are paired: see ``pair_levels``.

    Raises:
        ValueError: one of the models hands out no maps.
    """

    def __init__(
        self,
        student: Sequence[FeatureSpec],
        teacher: Sequence[FeatureSpec],
        *,
        levels: Rule = "nearest",
    ) -> None:
        super().__init__()
        if not student or not teacher:
            raise ValueError("feature distillation needs maps of both models")
        self.pairs = pair_levels(student, teacher, levels)
        self.projections = nn.ModuleList(
            nn.Conv2d(student[own].channels, teacher[wanted].channels, kernel_size=1)
            for own, wanted in self.pairs
        )

    def forward(self, student: Sequence[FeatureMap], teacher: Sequence[FeatureMap]) -> Tensor:
        """Maps [B, K_i, H_i, W_i] of each side -> scalar. No gradient reaches the teacher's."""
        stages = []
        for index, (own_level, wanted_level) in enumerate(self.pairs):
            own, wanted = student[own_level].tensor, full(teacher[wanted_level].tensor.detach())
            if wanted.shape[-2:] != own.shape[-2:]:
                wanted = F.interpolate(wanted, size=own.shape[-2:], mode="bilinear", align_corners=False)
            stages.append(self.stage(self._projected(own, index), wanted, index))
        return torch.stack(stages).sum()

    def _projected(self, own: Tensor, index: int) -> Tensor:
        project = cast(nn.Conv2d, self.projections[index])
        return full(project(own.to(project.weight.dtype)))

    def stage(self, own: Tensor, wanted: Tensor, index: int) -> Tensor:
        """The loss between two maps [B, K, H, W] of one size, in float32 or float64 -> scalar."""
        raise NotImplementedError
