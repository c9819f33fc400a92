"""Distillation by Pearson correlation: Cao et al. (PKD), NeurIPS 2022, arXiv:2207.02039."""

from __future__ import annotations

import torch
from torch import Tensor

from taco_kd.distill.losses.maps import MapLoss

EPS = 1e-8
"""added to the variance: a channel that is constant over the batch becomes zero, and its gradient finite"""


class PKD(MapLoss):
    """Both maps standardised per channel over batch and places, then half their mean squared error.

    z = (F - mean(F)) / std(F) over B, H, W;
    L = sum over stages of mean over B, K, H, W of (z^S - z^T)^2 / 2 = mean over K of 1 - r_k,

    where r_k is the Pearson correlation of channel k. Zero where each projected channel is a positive
    multiple of the teacher's plus a constant; 1 a stage where nothing correlates; at most 2. So neither the
    teacher's scale nor its offset counts, and no channel outweighs another.
    """

    def stage(self, own: Tensor, wanted: Tensor, index: int) -> Tensor:
        return (_standardised(own) - _standardised(wanted)).square().mean() / 2


def _standardised(maps: Tensor) -> Tensor:
    variance, mean = torch.var_mean(maps, dim=(0, 2, 3), correction=0, keepdim=True)
    return (maps - mean) * torch.rsqrt(variance + EPS)
