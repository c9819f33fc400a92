"""Losses are computed in float32 whatever the precision of the networks, and in float64 where asked."""

from __future__ import annotations

import torch
from torch import Tensor


def full(tensor: Tensor) -> Tensor:
    """float64 as it is, any other as float32: sums over a half-precision map would overflow or round away."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
