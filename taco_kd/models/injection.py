"""Extra queries in the decoder of a transformers RT-DETR while it trains: at inference there are none.

They enter as the denoising queries of DN-DETR (Li et al., arXiv:2203.01305) do: a box to begin with and the
embedding of a class. They stand before all other queries and are split off before the model goes on, so
matching, denoising and the detection loss are computed as if they were not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from taco_kd.models.refinement import inverse_sigmoid
from taco_kd.types import LayerOutput, QueryGroup


def group_mask(valid: Tensor, others: int, mask: Tensor | None) -> Tensor:
    """Additive attention mask for K queries of a group before N ``others``.

    Others see what they saw without the group. A query of the group sees the valid ones of its group, and
    itself: a row that sees nothing at all would be NaN after the softmax.

    Args:
        valid: [B, K] bool.
        others: N.
        mask: [N, N] of the others, 0 or -inf; None where they all see each other.

    Returns:
        [B, 1, K + N, K + N] float, 0 or -inf; row: who looks, column: at whom.
    """
    images, count = valid.shape
    whole = torch.full((images, 1, count + others, count + others), -torch.inf, device=valid.device)
    itself = torch.eye(count, dtype=torch.bool, device=valid.device)
    seen = valid[:, None, None, :] | itself
    whole[..., :count, :count] = torch.zeros_like(seen, dtype=whole.dtype).masked_fill(~seen, -torch.inf)
    whole[..., count:, count:] = 0.0 if mask is None else mask
    return whole


@contextmanager
def injected(decoder: Any, class_embed: nn.Module, queries: QueryGroup) -> Iterator[list[LayerOutput]]:
    """Within the block, ``decoder`` also answers ``queries``: their answers appear in the list, by layer.

    To be entered after anything else that hooks the decoder's output.

    Args:
        decoder: of a transformers RT-DETR or RT-DETRv2.
        class_embed: its denoising embedding, classes + 1 rows.
        queries: on the device of the model.
    """
    answers: list[LayerOutput] = []
    count = len(queries)

    def prepend(_module: nn.Module, inputs: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        target, references = given["inputs_embeds"], given["reference_points"]
        boxes = queries.boxes_cxcywh.masked_fill(~queries.valid[..., None], 0.5)
        first = inverse_sigmoid(boxes).to(references.dtype)
        mask = group_mask(queries.valid, target.shape[1], given["encoder_attention_mask"])
        return inputs, {
            **given,
            "inputs_embeds": torch.cat([class_embed(queries.class_ids).to(target.dtype), target], dim=1),
            "reference_points": torch.cat([first, references], dim=1),
            "encoder_attention_mask": mask.to(target.dtype),
        }

    def split_off(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        logits, boxes = output.intermediate_logits, output.intermediate_reference_points  # [B, L, K + N, .]
        answers.extend(
            LayerOutput(z, b)
            for z, b in zip(logits[:, :, :count].unbind(1), boxes[:, :, :count].unbind(1), strict=True)
        )
        output.intermediate_logits = logits[:, :, count:]
        output.intermediate_reference_points = boxes[:, :, count:]
        output.intermediate_hidden_states = output.intermediate_hidden_states[:, :, count:]
        output.last_hidden_state = output.last_hidden_state[:, count:]
        return output

    handles = [
        decoder.register_forward_pre_hook(prepend, with_kwargs=True),
        decoder.register_forward_hook(split_off),
    ]
    try:
        yield answers
    finally:
        for handle in handles:
            handle.remove()
