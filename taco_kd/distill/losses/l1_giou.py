"""Boxes by distance and overlap, weighted by what the teacher thinks of each."""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou_loss

from taco_kd.distill.losses.precision import full
from taco_kd.distill.losses.sigmoid_bce import weighted_mean


def l1_giou(
    student: Tensor, teacher: Tensor, weights: Tensor, *, l1: float = 5.0, giou: float = 2.0
) -> Tensor:
    """L = sum over p of w_p (5 ||b_p^S - b_p^T||_1 + 2 (1 - GIoU_p)) / sum over p of w_p.

    Zero where the boxes agree, or without a pair. GIoU: Rezatofighi et al., arXiv:1902.09630. The 5:2 balance
    is DETR's own, Carion et al., arXiv:2005.12872, section 3.

    Args:
        student, teacher: boxes [P, 4] cxcywh in 0..1.
        weights: [P] at least 0, such as the teacher's scores; 0 takes a pair out.
        l1, giou: weights of the two terms.
    """
    own = full(student)
    wanted = teacher.detach().to(own.dtype)
    distance = (own - wanted).abs().sum(-1)
    own_xyxy, wanted_xyxy = box_convert(own, "cxcywh", "xyxy"), box_convert(wanted, "cxcywh", "xyxy")
    overlap: Tensor = generalized_box_iou_loss(own_xyxy, wanted_xyxy, reduction="none")
    return weighted_mean(l1 * distance + giou * overlap, weights)
