"""The paper's figures, such as 40.92 M parameters and 136.06 GFLOPs for RT-DETR: what thop 0.1.1 printed.

They are smaller than the truth (42.85 M and 137.74 G there), because that version of thop counted neither the
weights nor the products of ``nn.MultiheadAttention`` and saw only modules that ran. This repeats its rules on
our networks, so that the paper's Table I can be compared with. It is never the main figure.

For RT-DETR through transformers the rules are those for the authors' own network, which hid more from thop:
their attention was one ``nn.MultiheadAttention``, and denoising embedding and the score heads of the decoder
layers before the last did not run. Other families are counted as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from taco_kd.bench.thop_rules import thop_count
from taco_kd.models.rtdetr import RTDetr


@dataclass(frozen=True)
class PaperCost:
    """The pair of the paper's Table I: millions of parameters, and 2 x GMACs."""

    parameters_m: float
    gflops: float


def paper_cost(model: nn.Module, image_size: int) -> PaperCost:
    """What the paper would print for ``model`` and one image of that side."""
    if not isinstance(model, RTDetr):
        parameters, macs = thop_count(model, image_size)
        return PaperCost(parameters_m=parameters / 1e6, gflops=2 * macs / 1e9)
    last = model.network.config.decoder_layers - 1
    _, macs = thop_count(model, image_size, seen=lambda name: not _unseen(name, last))
    missed = sum(p.numel() for n, p in model.named_parameters() if _unseen(n, last))
    parameters = sum(p.numel() for p in model.parameters()) - missed
    return PaperCost(parameters_m=parameters / 1e6, gflops=2 * macs / 1e9)


def _unseen(name: str, last_decoder_layer: int) -> bool:
    """Whether thop missed this module or parameter in the authors' network."""
    if ".self_attn." in name or "denoising_class_embed" in name:
        return True
    _, is_head, rest = name.partition(".decoder.class_embed.")
    return bool(is_head) and int(rest.split(".")[0]) != last_decoder_layer
