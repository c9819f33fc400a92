"""What the settings change about a network before it is trained: frozen parts, layout, compilation."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from taco_kd.config import TrainConfig
from taco_kd.errors import UsageError
from taco_kd.models.detector import Detector


def freeze(student: Detector, config: TrainConfig) -> int:
    """Take the parameters that ``freeze`` and ``freeze_batch_norm`` mean out of training.

    Returns:
        How many values are frozen by the settings.

    Raises:
        UsageError: a pattern that fits no parameter, or nothing is left to train.
    """
    named = dict(student.named_parameters())
    chosen: dict[str, nn.Parameter] = {}
    for pattern in config.freeze:
        found = {name: p for name, p in named.items() if re.search(pattern, name)}
        if not found:
            examples = ", ".join(list(named)[:: max(1, len(named) // 3)][:3])
            raise UsageError(
                f"train.freeze: {pattern!r} is found in no parameter of {student.model_name}; they are "
                f"called for example {examples}"
            )
        chosen |= found
    if config.freeze_batch_norm:
        for place, norm in enumerate(batch_norms(student)):
            chosen |= {f"batch norm {place} {name}": p for name, p in norm.named_parameters(recurse=False)}
    for parameter in chosen.values():
        parameter.requires_grad_(False)
    if not any(p.requires_grad for p in student.parameters()):
        raise UsageError("train.freeze: every parameter is frozen, so there is nothing to train")
    return sum(p.numel() for p in {id(p): p for p in chosen.values()}.values())


def batch_norms(student: nn.Module) -> Iterator[_BatchNorm]:
    """Those with statistics that training changes."""
    return (module for module in student.modules() if isinstance(module, _BatchNorm))


def train_mode(student: Detector, config: TrainConfig) -> None:
    """``student.train()``, but for the batch norms that keep their statistics."""
    student.train()
    if config.freeze_batch_norm:
        for norm in batch_norms(student):
            norm.eval()


def guard_single_images(student: Detector) -> None:
    """Make the gradients of batch norms right for one image at a time on a CPU.

    The backward pass of torch's batch norm (2.15, CPU) is silently wrong for a batch of one whose incoming
    gradient has the strides of a transposed sequence, as it comes out of RT-DETR's encoder: of the many
    strides that mean the same for a dimension of size one it takes one for another. Measured: 0.8 of the
    gradient's norm. A copy in the usual order is taken for what it is.
    """
    for norm in batch_norms(student):
        if _in_order not in norm._forward_hooks.values():
            norm.register_forward_hook(_in_order)


def _in_order(_norm: nn.Module, _inputs: object, output: Tensor) -> None:
    if output.requires_grad and len(output) == 1 and output.device.type == "cpu":
        output.register_hook(torch.Tensor.contiguous)  # type: ignore[no-untyped-call]


def shape_for_speed(student: Detector, config: TrainConfig) -> None:
    """Channels last, and compiled; neither changes a name or a weight.

    Raises:
        UsageError: the family has no part that can be compiled.
    """
    if config.channels_last:
        student.to(memory_format=torch.channels_last)
    if config.compile:
        parts = student.compiled_parts()
        if not parts:
            raise UsageError(f"train.compile: {student.model_name} has no part that can be compiled")
        for part in parts:
            part.compile(dynamic=False)
