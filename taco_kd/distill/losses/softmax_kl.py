"""KL divergence of softened class distributions: Eq. 3 of RT-CO-DETR; Hinton et al., arXiv:1503.02531."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from taco_kd.distill.losses.precision import full


def softmax_kl(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float,
    reduction: Literal["pairs", "images"] = "pairs",
    images: int | None = None,
) -> Tensor:
    """L = tau^2 / N sum over pairs of KL(softmax(Z_T / tau) || softmax(Z_S / tau)).

    Zero where the two distributions agree: logits may differ by a constant for each pair. Both detectors are
    trained with sigmoids, whose logits no softmax describes; for them ``sigmoid_bce`` is made.

    Args:
        student, teacher: logits [P, C] over the common classes.
        temperature: tau.
        reduction: what N is. ``pairs``: their number. ``images``: that of the images, so a sum over queries,
            which is what "batchmean" on [B, Q, C] in the paper's released code comes to (300 times as much).
        images: how many images the pairs are from; needed by ``images``.

    Raises:
        ValueError: a temperature or a number of images that is not positive, or an unknown reduction.
    """
    if temperature <= 0:
        raise ValueError(f"temperature {temperature} must be positive")
    if reduction not in ("pairs", "images"):
        raise ValueError(f"reduction {reduction!r}: choose pairs or images")
    if reduction == "images" and (images is None or images < 1):
        raise ValueError(f"reduction images needs the number of images, not {images}")
    own = F.log_softmax(full(student) / temperature, dim=-1)
    wanted = F.log_softmax(full(teacher.detach()) / temperature, dim=-1)
    divergence = F.kl_div(own, wanted.to(own.dtype), reduction="sum", log_target=True)
    count = max(1, len(student)) if images is None or reduction == "pairs" else images
    return temperature**2 * divergence / count
