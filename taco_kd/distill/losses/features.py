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

    Each student stage answers to the teacher stage of the nearest stride. A teacher whose maps all have one
    stride (a ViT) has one stage, its last map, and teaches only the student stage of the nearest stride. The
    1x1 projections to the teacher's channels belong to this module and are trained with the student.

    Args:
        student, teacher: the levels of the two backbones, fine to coarse.

    Raises:
        ValueError: one of the backbones hands out no maps.
    """

    def __init__(self, student: Sequence[FeatureSpec], teacher: Sequence[FeatureSpec]) -> None:
        super().__init__()
        if not student or not teacher:
            raise ValueError("feature distillation needs backbone maps of both models")
        self.pairs = pair_levels(student, teacher)
        self.projections = nn.ModuleList(
            nn.Conv2d(student[own].channels, teacher[wanted].channels, kernel_size=1)
            for own, wanted in self.pairs
        )

    def forward(self, student: Sequence[FeatureMap], teacher: Sequence[FeatureMap]) -> Tensor:
        """Maps [B, K_i, H_i, W_i] of each side -> scalar."""
        stages = []
        for (own_level, wanted_level), project in zip(self.pairs, self.projections, strict=True):
            own, wanted = student[own_level].tensor, teacher[wanted_level].tensor.detach()
            if wanted.shape[-2:] != own.shape[-2:]:
                wanted = F.interpolate(wanted, size=own.shape[-2:], mode="bilinear", align_corners=False)
            stages.append(F.mse_loss(project(own).float(), wanted.float()))
        return torch.stack(stages).sum()


def pair_levels(student: Sequence[FeatureSpec], teacher: Sequence[FeatureSpec]) -> list[tuple[int, int]]:
    """(student level, teacher level) of each stage of the loss: see ``FeatureMSE``."""

    def distance(own: int, wanted: int) -> float:
        return abs(math.log2(teacher[wanted].stride / student[own].stride))

    if len({level.stride for level in teacher}) == 1:
        last = len(teacher) - 1
        return [(min(range(len(student)), key=lambda own: distance(own, last)), last)]
    return [
        (own, min(range(len(teacher)), key=lambda wanted: distance(own, wanted)))
        for own in range(len(student))
    ]
