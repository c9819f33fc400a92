"""Cosine distance place by place: for maps that stand on a grid of patches, as of DINOv3."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from taco_kd.distill.losses.maps import MapLoss


class Cosine(MapLoss):
    """L = sum over stages of mean over B, H, W of 1 - cos(Conv1x1(F^S)_hw, F^T_hw), vectors of K channels.

    Zero where each place points the way the teacher's does, however long it is; 1 where it is perpendicular
    (or zero); at most 2. RT-DETRv4 (Liao et al., arXiv:2510.25257) aligns its coarsest map with the patch
    tokens of a DINOv3 ViT so.
    """

    def stage(self, own: Tensor, wanted: Tensor, index: int) -> Tensor:
        return 1 - F.cosine_similarity(own, wanted, dim=1).mean()
