"""Attention transfer: the teacher's encoder tells the student's where each place should look.

The paper's future work ("attention-based distillation"), after Zagoruyko and Komodakis, arXiv:1612.03928, and
D3ETR, arXiv:2211.09768, which transfers the attention maps of a DETR's layers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taco_kd.distill.losses.precision import full
from taco_kd.types import AttentionMap

SMALLEST = 1e-12
"""of a share of attention, so that its logarithm is finite"""


class AttentionTransfer(nn.Module):
    """L = mean over B and places q of KL(A_q^T || A_q^S), A_q the attention of place q over all places.

    Heads are averaged: the h-th head of two models is no more the same thing than their h-th query. The
    teacher's A is resized to the student's grid over both its axes (bilinear), and each row made to sum to 1
    again. Zero where the averages agree. It has nothing to train.
    """

    def forward(self, student: AttentionMap, teacher: AttentionMap) -> Tensor:
        """Maps [B, heads, N, N] of two grids -> scalar. No gradient reaches the teacher's."""
        own = full(student.tensor).mean(dim=1)  # [B, N, N]
        wanted = full(teacher.tensor.detach()).mean(dim=1).to(own.dtype)
        if (teacher.height, teacher.width) != (student.height, student.width):
            wanted = _resized(wanted, teacher, student)
        wanted = wanted / wanted.sum(dim=-1, keepdim=True).clamp(min=SMALLEST)
        own, wanted = own.clamp(min=SMALLEST), wanted.clamp(min=SMALLEST)
        divergence = (wanted * (wanted.log() - own.log())).sum(dim=-1)  # [B, N]
        return divergence.mean()


def _resized(attention: Tensor, source: AttentionMap, target: AttentionMap) -> Tensor:
    """[B, N_t, N_t] over the source's grid as [B, N_s, N_s] over the target's."""
    for _ in range(2):  # over the places attended to, then over those that attend
        grid = attention.unflatten(-1, (source.height, source.width))  # type: ignore[no-untyped-call]
        grid = F.interpolate(
            grid, size=(target.height, target.width), mode="bilinear", align_corners=False, antialias=True
        )
        attention = torch.transpose(grid.flatten(2), 1, 2)
    return attention
