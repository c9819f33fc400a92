"""One-to-one matching between a student's queries and what a teacher sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou_loss

CLASS_COST, L1_COST, GIOU_COST = 2.0, 5.0, 2.0
"""weights of the matchers of DETR (arXiv:2005.12872, L1 and GIoU) and its focal successors"""

ALPHA, GAMMA = 0.25, 2.0
"""of the focal cost; the values of Deformable DETR and RT-DETR"""


def box_cost(student: Tensor, teacher: Tensor) -> Tensor:
    """5 L1 - 2 GIoU between boxes [B, Q, 4] and [B, K, 4], cxcywh in 0..1: [B, Q, K]."""
    distance = torch.cdist(student.float(), teacher.float(), p=1)
    shape = (*distance.shape, 4)
    own = box_convert(student.float(), "cxcywh", "xyxy")[:, :, None].expand(shape)
    wanted = box_convert(teacher.float(), "cxcywh", "xyxy")[:, None].expand(shape)
    overlap: Tensor = 1 - generalized_box_iou_loss(own, wanted, reduction="none")
    return L1_COST * distance - GIOU_COST * overlap


def focal_cost(logits: Tensor) -> Tensor:
    """What it costs to call a query each class, as the matchers of focal DETRs have it (arXiv:2010.04159)."""
    p = logits.float().sigmoid()
    positive = ALPHA * (1 - p) ** GAMMA * -(p + 1e-8).log()
    negative = (1 - ALPHA) * p**GAMMA * -(1 - p + 1e-8).log()
    return positive - negative


def label_cost(logits: Tensor, class_ids: Tensor) -> Tensor:
    """2 focal between logits [B, Q, C] and classes [B, K]: [B, Q, K]."""
    each = focal_cost(logits)
    return CLASS_COST * each.gather(2, class_ids[:, None].expand(-1, each.shape[1], -1))


def assign(cost: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The one-to-one assignment of least cost in each image; the first ``counts[b]`` columns are real.

    Args:
        cost: [B, Q, K]; a value that is not finite is taken only where nothing else is left.

    Returns:
        image, student query and column, each [P], in the order of images and columns; min(Q, counts[b]) of
        each image.
    """
    tables = cost.nan_to_num(1e4, 1e4, 1e4).cpu().numpy()
    found = [np.zeros((3, 0), dtype=np.int64)]
    for image, (table, count) in enumerate(zip(tables, counts, strict=True)):
        wanted, own = linear_sum_assignment(table[:, :count].T)
        found.append(np.stack([np.full_like(own, image), own, wanted]))
    images, queries, columns = torch.from_numpy(np.concatenate(found, axis=1)).to(cost.device)
    return images, queries, columns
