"""How thop 0.1.1, with which the paper counted, counts: by the type of each module, as it runs.

Multiply-accumulates of a module by the rule for its exact type, nothing for a type without one (activations
such as SiLU, ``nn.MultiheadAttention``, everything functional), and only the parameters of modules that have
a rule and ran. Too little by construction; ``taco_kd.bench.flops`` counts what is really computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from taco_kd.bench.flops import unfused

Rule = Callable[[Any, Tensor, Tensor], float]


def _convolution(module: Any, given: Tensor, made: Tensor) -> float:
    kernel = module.weight.shape[2:].numel()  # biases are not counted
    return float(made.numel() * (given.shape[1] // module.groups) * kernel)


def _normalisation(module: Any, given: Tensor, _made: Tensor) -> float:
    scaled = getattr(module, "affine", False) or getattr(module, "elementwise_affine", False)
    return float(given.numel() * (4 if scaled else 2))


def _linear(module: Any, _given: Tensor, made: Tensor) -> float:
    return float(made.numel() * module.in_features)


def _softmax(module: Any, given: Tensor, _made: Tensor) -> float:
    features = given.shape[module.dim]
    return float(given.numel() // features * (3 * features - 1))


def _average_pool(_module: Any, _given: Tensor, made: Tensor) -> float:
    return float(made.numel())


def _adaptive_average_pool(_module: Any, given: Tensor, made: Tensor) -> float:
    return float((given.shape[2:].numel() / made.shape[2:].numel() + 1) * made.numel())


def _upsample(module: Any, _given: Tensor, made: Tensor) -> float:
    return float(
        made.numel() * {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 259}.get(module.mode, 0)
    )


RULES: Mapping[type[nn.Module], Rule] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _convolution),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm), _normalisation),
    **dict.fromkeys((nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d), _normalisation),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d), _average_pool),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d), _adaptive_average_pool),
    **dict.fromkeys((nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d), _upsample),
    nn.Linear: _linear,
    nn.Softmax: _softmax,
}
"""The rules that count something, for the modules of image models; its other rules count zero operations."""


def thop_count(
    model: nn.Module, image_size: int, *, seen: Callable[[str], bool] = lambda _name: True
) -> tuple[int, float]:
    """Parameters and multiply-accumulates as thop 0.1.1 counts them, for one image of that side.

    Args:
        seen: by name, which modules count; all by default.
    """
    macs, parameters, counted = 0.0, 0, set[nn.Module]()

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs, parameters
        macs += RULES[type(module)](module, inputs[0], output)
        if module not in counted:
            counted.add(module)
            parameters += sum(p.numel() for p in module.parameters())

    hooks = [
        module.register_forward_hook(add)
        for name, module in model.named_modules()
        if type(module) in RULES and seen(name)
    ]
    device = next(model.parameters()).device
    try:
        with unfused(model):
            model(torch.zeros(1, 3, image_size, image_size, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return parameters, macs
