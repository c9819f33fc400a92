"""Box refinement of a DETR decoder in training: from which reference the gradient of each layer's box comes.

Decoder layer i predicts a correction of the boxes of layer i-1. transformers detaches those boxes before it
corrects them, so the loss of layer i trains the head of layer i alone. The original RT-DETR and RT-DETRv2
detach them only for the attention; the box that enters the loss of layer i keeps the gradient to layer i-1:
"look forward twice", Zhang et al. (DINO), arXiv:2203.03605, section 3.5. The values are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

Refinement = Literal["detached", "original"]

EPSILON = 1e-5
"""distance from 0 and 1 that the inverse sigmoid of RT-DETR keeps"""


def inverse_sigmoid(share: Tensor) -> Tensor:
    """Logit of values in 0..1, kept finite as RT-DETR does it."""
    share = share.clamp(0, 1)
    return torch.log(share.clamp(min=EPSILON) / (1 - share).clamp(min=EPSILON))


def look_forward_twice(boxes: Tensor, corrections: list[Tensor]) -> Tensor:
    """The boxes of all layers, [B, L, Q, 4] in 0..1, with the gradient of the original.

    Args:
        boxes: of all layers, each computed from the detached boxes of the layer before.
        corrections: output of the box head of each layer, [B, Q, 4], before the sigmoid.
    """
    later = [
        torch.sigmoid(correction + inverse_sigmoid(before))
        for correction, before in zip(corrections[1:], boxes.unbind(1), strict=False)
    ]
    return torch.stack([boxes[:, 0], *later], dim=1)


@contextmanager
def original_refinement(decoder: Any) -> Iterator[None]:
    """Within the block, a transformers RT-DETR ``decoder`` returns boxes with the graph of the original."""
    corrections: list[Tensor] = []

    def collect(_module: nn.Module, _inputs: Any, correction: Tensor) -> None:
        corrections.append(correction)

    def replace(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        output.intermediate_reference_points = look_forward_twice(
            output.intermediate_reference_points, corrections
        )
        return output

    handles = [head.register_forward_hook(collect) for head in decoder.bbox_embed]
    handles.append(decoder.register_forward_hook(replace))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
