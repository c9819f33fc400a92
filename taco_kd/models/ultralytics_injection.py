"""Extra queries in the decoder of Ultralytics' RT-DETR while it trains; see ``taco_kd.models.injection``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from taco_kd.models.injection import group_mask
from taco_kd.models.refinement import inverse_sigmoid
from taco_kd.types import LayerOutput, QueryGroup


@contextmanager
def injected(head: Any, queries: QueryGroup) -> Iterator[list[LayerOutput]]:
    """Within the block, the decoder of ``head`` also answers ``queries``: their answers, by layer.

    Args:
        head: ``ultralytics.nn.modules.RTDETRDecoder``. Its embedding has no row for "unknown": zeros.
        queries: on the device of the model.
    """
    answers: list[LayerOutput] = []
    count = len(queries)

    def prepend(_module: nn.Module, inputs: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        target, references, *others = inputs
        known = (queries.class_ids < head.nc)[..., None]
        begin = head.denoising_class_embed(queries.class_ids.clamp(max=head.nc - 1)) * known
        boxes = inverse_sigmoid(queries.boxes_cxcywh.masked_fill(~queries.valid[..., None], 0.5))
        mask = group_mask(queries.valid, target.shape[1], _additive(given.get("attn_mask"), target.device))
        mask = mask.to(target.dtype).expand(-1, head.nhead, -1, -1).flatten(0, 1)
        inputs = (
            torch.cat([begin.to(target.dtype), target], dim=1),
            torch.cat([boxes.to(references.dtype), references], dim=1),
            *others,
        )
        return inputs, {**given, "attn_mask": mask}

    def split_off(_module: nn.Module, _inputs: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        boxes, logits = output  # [L, B, K + N, .]
        answers.extend(LayerOutput(z[:, :count], b[:, :count]) for z, b in zip(logits, boxes, strict=True))
        return boxes[:, :, count:], logits[:, :, count:]

    handles = [
        head.decoder.register_forward_pre_hook(prepend, with_kwargs=True),
        head.decoder.register_forward_hook(split_off),
    ]
    try:
        yield answers
    finally:
        for handle in handles:
            handle.remove()


def _additive(mask: Tensor | None, device: torch.device) -> Tensor | None:
    """A mask whose True hides, as one that is added to the scores."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, device=device).masked_fill(mask.to(device), -torch.inf)
