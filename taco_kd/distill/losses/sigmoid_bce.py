"""Soft targets for sigmoid heads: binary cross entropy weighted by the quality of each pair."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from taco_kd.distill.losses.precision import full


def sigmoid_bce(
    student: Tensor,
    targets: Tensor,
    weights: Tensor,
    *,
    focus: float = 0.0,
    positives: int | None = None,
) -> Tensor:
    """L = sum over p of w_p sum over c of |sigmoid(s_pc) - t_pc|^focus BCE(sigmoid(s_pc), t_pc) / N.

    N is the sum of the weights, or the number of positives. Without ``focus`` the least value, reached at
    sigmoid(s) = t, is not zero but the entropy of the targets. With it the loss is zero there, and classes
    that are right already no longer outweigh the wrong ones: the quality focal loss of Li et al. (Generalized
    Focal Loss, arXiv:2006.04388, which takes 2). As there, the gradient runs through the factor too.

    Args:
        student: logits [P, C] over the common classes.
        targets: the teacher's probabilities [P, C].
        weights: [P] at least 0, such as the teacher's scores; 0 takes a pair out.
        focus: beta, the power of the factor, at least 1; 0 leaves it out.
        positives: N; the sum of the weights if None.

    Raises:
        ValueError: a focus between 0 and 1 (its gradient is infinite at the teacher), or below 0.
    """
    if focus != 0 and focus < 1:
        raise ValueError(f"focus {focus} must be 0 or at least 1")
    logits = full(student)
    wanted = targets.detach().to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    if focus > 0:
        each = each * (logits.sigmoid() - wanted).abs().pow(focus)
    return weighted_mean(each.sum(-1), weights, positives)


def weighted_mean(each: Tensor, weights: Tensor, count: int | None = None) -> Tensor:
    """sum(w * each) / sum(w), or / ``count``; zero, and still part of the graph, where there is nothing.

    Args:
        each: [P].
        weights: [P] at least 0.
    """
    share = weights.detach().to(each.dtype)
    whole = (each * share).sum()
    if count is not None:
        return whole / max(1, count)
    return whole / share.sum().clamp(min=torch.finfo(torch.float32).eps)
