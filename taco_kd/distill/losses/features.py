"""Mean squared error between projected backbone maps: Eq. 2 of RT-CO-DETR; FitNets, arXiv:1412.6550."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taco_kd.types import FeatureMap, FeatureSpec


class FeatureMSE(nn.Module):
    """L_feat = sum over stages i of mean((Conv1x1(F_i^S) - Interpolate(F_i^T))^2).

    Each student stage answers to the teacher stage of the nearest stride. The 1x1 projections to the
    teacher's channels belong to this module and are trained with the student.

    Args:
        student, teacher: the levels of the two backbones, fine to coarse.

    Raises:
        ValueError: one of the backbones hands out no maps.
    """

    def __init__(self, student: Sequence[FeatureSpec], teacher: Sequence[FeatureSpec]) -> None:
        super().__init__()
        if not student or not teacher:
            raise ValueError("feature distillation needs backbone maps of both models")
        self.teacher_level = [
            min(range(len(teacher)), key=lambda t: abs(math.log2(teacher[t].stride / level.stride)))
            for level in student
        ]
        self.projections = nn.ModuleList(
            nn.Conv2d(level.channels, teacher[t].channels, kernel_size=1)
            for level, t in zip(student, self.teacher_level, strict=True)
        )

    def forward(self, student: Sequence[FeatureMap], teacher: Sequence[FeatureMap]) -> Tensor:
        """Maps [B, K_i, H_i, W_i] of each side -> scalar."""
        stages = []
        for own, level, project in zip(student, self.teacher_level, self.projections, strict=True):
            wanted = teacher[level].tensor.detach()
            if wanted.shape[-2:] != own.tensor.shape[-2:]:
                size = own.tensor.shape[-2:]
                wanted = F.interpolate(wanted, size=size, mode="bilinear", align_corners=False)
            stages.append(F.mse_loss(project(own.tensor).float(), wanted.float()))
        return torch.stack(stages).sum()
