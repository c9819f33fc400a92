"""Losses between boxes of paired queries."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou_loss


def l1(student: Tensor, teacher: Tensor) -> Tensor:
    """Eq. 4 of RT-CO-DETR: ||B_S - B_T||_1, mean over pairs and coordinates. Wang et al., arXiv:1906.03609.

    Args:
        student, teacher: boxes [P, 4] cxcywh in 0..1.
    """
    if student.numel() == 0:
        return student.sum() * 0.0
    return (student.float() - teacher.detach().float()).abs().mean()


def l1_giou(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """(5 L1 + 2 (1 - GIoU)), DETR's own balance, weighted by pair and normalised by the sum of weights.

    GIoU: Rezatofighi et al., arXiv:1902.09630. The 5:2 balance: Carion et al., arXiv:2005.12872.

    Args:
        student, teacher: boxes [P, 4] cxcywh in 0..1.
        weights: [P] at least 0, such as the teacher's scores.
    """
    own, wanted = student.float(), teacher.detach().float()
    distance = (own - wanted).abs().sum(-1)
    own_xyxy, wanted_xyxy = box_convert(own, "cxcywh", "xyxy"), box_convert(wanted, "cxcywh", "xyxy")
    overlap: Tensor = generalized_box_iou_loss(own_xyxy, wanted_xyxy, reduction="none")
    each = 5.0 * distance + 2.0 * overlap
    mean: Tensor = (each * weights).sum() / weights.sum().clamp(min=torch.finfo(torch.float32).eps)
    return mean
