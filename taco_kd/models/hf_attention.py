"""The weights of a transformers self-attention, taken on its way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def captured_attention(layer: Any | None) -> Iterator[list[Tensor]]:
    """The attention weights [B, heads, N, N] of ``layer`` for each forward inside the block.

    The fused kernels (SDPA) that transformers calls never form these weights. So queries and keys are taken
    as they leave their projections, and softmax(Q K^T / sqrt(d)) is formed beside the layer, in float32: its
    output does not change, nothing of the network runs twice, and a gradient flows back through both
    projections. Dropout is not applied, and no mask: our images have no padding.

    Args:
        layer: has ``q_proj``, ``k_proj``, ``head_dim`` and ``scaling``; nothing is taken if it is None.
    """
    weights: list[Tensor] = []
    if layer is None:
        yield weights
        return
    queries: list[Tensor] = []

    def heads(projected: Tensor) -> Tensor:
        batch, places, _ = projected.shape
        return projected.view(batch, places, -1, layer.head_dim).transpose(1, 2)  # [B, heads, N, d]

    def keep_queries(_module: nn.Module, _inputs: Any, projected: Tensor) -> None:
        queries.append(projected)

    def keep_keys(_module: nn.Module, _inputs: Any, projected: Tensor) -> None:
        scores = heads(queries.pop()) @ heads(projected).transpose(-1, -2) * layer.scaling
        weights.append(torch.softmax(scores.float(), dim=-1))

    handles = [
        layer.q_proj.register_forward_hook(keep_queries),
        layer.k_proj.register_forward_hook(keep_keys),
    ]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()
