"""Losses between class scores of paired queries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def softmax_kl(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Eq. 3 of RT-CO-DETR: tau^2 KL(softmax(Z_T / tau) || softmax(Z_S / tau)), mean over the pairs.

    Hinton et al., arXiv:1503.02531. Zero where the two distributions agree.

    Args:
        student, teacher: logits [P, C] over the common classes.
        temperature: tau.
    """
    if student.numel() == 0:
        return student.sum() * 0.0
    own = F.log_softmax(student.float() / temperature, dim=-1)
    wanted = F.log_softmax(teacher.detach().float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(own, wanted, reduction="batchmean", log_target=True)


def sigmoid_bce(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """Binary cross entropy against the teacher's probabilities as soft targets, for sigmoid heads.

    Summed over classes, weighted by pair and normalised by the sum of weights. Its floor, reached at
    teacher = student, is the entropy of the teacher's probabilities, not zero.

    Args:
        student, teacher: logits [P, C] over the common classes.
        weights: [P] at least 0.
    """
    targets = teacher.detach().float().sigmoid()
    each = F.binary_cross_entropy_with_logits(student.float(), targets, reduction="none").sum(-1)
    return (each * weights).sum() / weights.sum().clamp(min=torch.finfo(torch.float32).eps)
