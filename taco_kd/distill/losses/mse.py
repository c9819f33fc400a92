"""Mean squared error between projected maps: Eq. 2 of RT-CO-DETR; FitNets, Romero et al., arXiv:1412.6550."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from taco_kd.distill.losses.maps import MapLoss


class MSE(MapLoss):
    """L = sum over stages i of mean over B, K, H, W of (Conv1x1(F_i^S) - Interpolate(F_i^T))^2.

    Zero where each projected map equals the teacher's. It grows with the square of the teacher's scale.
    """

    def stage(self, own: Tensor, wanted: Tensor, index: int) -> Tensor:
        return F.mse_loss(own, wanted)
