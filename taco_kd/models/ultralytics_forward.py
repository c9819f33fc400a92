"""What the Ultralytics families share: targets in its form, and maps taken from layers on their way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from taco_kd.types import FeatureMap, FeatureSpec, Targets


def ultralytics_targets(targets: Sequence[Targets], images: Tensor) -> dict[str, Tensor]:
    """``batch_idx`` [N], ``cls`` [N] and ``bboxes`` [N, 4] cxcywh in 0..1 of all images of a batch."""
    device = images.device
    counts = torch.tensor([len(t.class_ids) for t in targets], device=device)
    return {
        "img": images,
        "batch_idx": torch.arange(len(targets), device=device).repeat_interleave(counts),
        "cls": torch.cat([t.class_ids for t in targets]).to(device),
        "bboxes": torch.cat([t.boxes_cxcywh for t in targets]).to(device),
    }


@contextmanager
def captured(
    layers: Sequence[nn.Module], specs: Sequence[FeatureSpec], wanted: bool
) -> Iterator[list[FeatureMap]]:
    """The outputs of ``layers`` in a forward inside the block, as ``specs`` names them: no second forward."""
    maps: dict[int, FeatureMap] = {}
    features: list[FeatureMap] = []
    if not wanted:
        yield features
        return

    def keeper(place: int) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            maps[place] = FeatureMap(output, specs[place].stride, specs[place].name)

        return keep

    handles = [layer.register_forward_hook(keeper(i)) for i, layer in enumerate(layers)]
    try:
        yield features
        features += [maps[i] for i in range(len(layers))]
    finally:
        for handle in handles:
            handle.remove()
