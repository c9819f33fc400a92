"""Distance between boxes: Eq. 4 of RT-CO-DETR; Wang et al., arXiv:1906.03609."""

from __future__ import annotations

from torch import Tensor

from taco_kd.distill.losses.precision import full


def l1(student: Tensor, teacher: Tensor) -> Tensor:
    """L = ||B_S - B_T||_1, mean over pairs and coordinates; zero where the boxes agree, or without a pair.

    Args:
        student, teacher: boxes [P, 4] cxcywh in 0..1.
    """
    own = full(student)
    return (own - teacher.detach().to(own.dtype)).abs().sum() / max(1, own.numel())
