"""The paper's figures for RT-DETR, 40.92 M parameters and 136.06 GFLOPs: what thop 0.1.1 printed for it.

They are smaller than the truth (42.85 M and 137.74 G) because that version of thop counted neither the
weights nor the products of ``nn.MultiheadAttention``, and saw only modules that ran: not the denoising
embedding and not the score heads of the decoder layers before the last. This repeats its rules on our
network, so that the paper's Table I can be compared with. It serves one family and is never the main figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from taco_kd.bench.flops import unfused
from taco_kd.models.detector import Detector
from taco_kd.models.rtdetr import RTDetr


@dataclass(frozen=True)
class PaperCost:
    """The pair of the paper's Table I: millions of parameters, and 2 x GMACs."""

    parameters_m: float
    gflops: float


def paper_cost(model: Detector, image_size: int) -> PaperCost | None:
    """What the paper would print for ``model``; None for a family it gives no figure for."""
    if not isinstance(model, RTDetr):
        return None
    last = model.network.config.decoder_layers - 1
    names = {module: name for name, module in model.named_modules() if not list(module.children())}
    macs = 0.0

    def add(module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal macs
        macs += _macs(module, output)

    seen = {module: name for module, name in names.items() if not _unseen(name, last)}
    hooks = [module.register_forward_hook(add) for module in seen]
    try:
        with unfused(model):
            model(torch.zeros(1, 3, image_size, image_size, device=model.mean.device))
    finally:
        for hook in hooks:
            hook.remove()
    missed = sum(p.numel() for n, p in model.named_parameters() if _unseen(n, last))
    parameters = sum(p.numel() for p in model.parameters()) - missed
    return PaperCost(parameters_m=parameters / 1e6, gflops=2 * macs / 1e9)


def _unseen(name: str, last_decoder_layer: int) -> bool:
    """Whether thop missed this module or parameter in the authors' network."""
    if ".self_attn." in name or "denoising_class_embed" in name:
        return True
    _, is_head, rest = name.partition(".decoder.class_embed.")
    return bool(is_head) and int(rest.split(".")[0]) != last_decoder_layer


def _macs(module: nn.Module, output: Tensor) -> float:
    """thop's rule for one module; activations and frozen batch norms have none."""
    if isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        return output.numel() * module.in_channels // module.groups * height * width
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
        return output.numel() * (4 if module.weight is not None else 2)
    if isinstance(module, nn.AvgPool2d):
        return output.numel()
    return 0.0
