"""What the two kinds of DETR encoders in transformers hand out: their maps and their self-attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from taco_kd.models.hf import HFDetector
from taco_kd.types import FeatureSpec

OFFERS = frozenset({"features", "encoder", "attention"})


class HybridEncoder(HFDetector):
    """Encoder of RT-DETR and D-FINE: self-attention on the coarsest map (AIFI), then FPN and PAN.

    Its maps P3 to P5 have the strides of the backbone's C3 to C5 and one width: 256 channels in RT-DETR R50.
    """

    offers = OFFERS

    def __init__(self, network: Any, **kwargs: Any) -> None:
        super().__init__(network, **kwargs)
        width = network.config.encoder_hidden_dim
        self.encoder_spec = tuple(
            FeatureSpec(level.name.replace("C", "P"), width, level.stride) for level in self.features_spec
        )

    def encoder_maps(self, raw: Any, grids: Sequence[tuple[int, int]]) -> list[Tensor]:
        return list(raw.encoder_last_hidden_state)

    def attention_layer(self) -> tuple[nn.Module, int] | None:
        encoder = self.network.model.encoder
        if not encoder.aifi or not encoder.aifi[-1].layers:
            return None
        return encoder.aifi[-1].layers[-1].self_attn, encoder.encode_proj_layers[-1]


class PlainEncoder(HFDetector):
    """Encoder of DETR and Conditional DETR: self-attention over the backbone's last map, one map out."""

    offers = OFFERS

    def __init__(self, network: Any, **kwargs: Any) -> None:
        super().__init__(network, **kwargs)
        last = self.features_spec[-1]
        self.encoder_spec = (FeatureSpec(last.name.replace("C", "P"), network.config.d_model, last.stride),)

    def encoder_maps(self, raw: Any, grids: Sequence[tuple[int, int]]) -> list[Tensor]:
        return [raw.encoder_last_hidden_state.transpose(1, 2).unflatten(2, grids[-1])]  # [B, N, K] -> map

    def attention_layer(self) -> tuple[nn.Module, int] | None:
        layers = self.network.model.encoder.layers
        return (layers[-1].self_attn, -1) if layers else None
