"""One-to-one matching between a student's queries and what a teacher sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou_loss

CLASS_COST, L1_COST, GIOU_COST = 2.0, 5.0, 2.0
"""weights of the matchers of DETR (arXiv:2005.12872, L1 and GIoU) and its focal successors"""


def box_cost(student: Tensor, teacher: Tensor) -> Tensor:
    """5 L1 - 2 GIoU between boxes [B, Q, 4] and [B, K, 4], cxcywh in 0..1: [B, Q, K]."""
    distance = torch.cdist(student.float(), teacher.float(), p=1)
    shape = (*distance.shape, 4)
    own = box_convert(student.float(), "cxcywh", "xyxy")[:, :, None].expand(shape)
    wanted = box_convert(teacher.float(), "cxcywh", "xyxy")[:, None].expand(shape)
    overlap: Tensor = 1 - generalized_box_iou_loss(own, wanted, reduction="none")
    return L1_COST * distance - GIOU_COST * overlap


def assign(cost: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The one-to-one assignment of least cost in each image; the first ``counts[b]`` columns are real.

    Args:
        cost: [B, Q, K]; a value that is not finite is taken only where nothing else is left.

    Returns:
        student query [P] and column [P], image after image in the order of the columns; min(Q, counts[b])
        of each image.
    """
    tables = cost.nan_to_num(1e4, 1e4, 1e4).cpu().numpy()
    rows, columns = [torch.zeros(0, dtype=torch.long)], [torch.zeros(0, dtype=torch.long)]
    for table, count in zip(tables, counts, strict=True):
        wanted, own = linear_sum_assignment(table[:, :count].T)
        rows.append(torch.from_numpy(own).long())
        columns.append(torch.from_numpy(wanted).long())
    return torch.cat(rows).to(cost.device), torch.cat(columns).to(cost.device)
