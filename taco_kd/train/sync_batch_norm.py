"""Batch norms whose statistics are those of a batch over all processes (``train.sync_batch_norm``).

On CUDA they are torch's own where there is no teacher; else, and on a CPU, which torch's refuses, they are
computed here. Ioffe and Szegedy, arXiv:1502.03167, Algorithm 1, with the sums taken over all processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def synchronise(network: nn.Module, *, by_torch: bool) -> None:
    """Make the batch norms of ``network`` synchronised ones, where several processes train.

    Modules stay the objects that they are, with their hooks, and the names in ``state_dict`` too: a network
    rebuilt from its weights has ordinary batch norms, which do the same in eval mode.

    Args:
        by_torch: use torch's, for CUDA only. They know no ``gradients_alone``.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return
    for module in network.modules():
        if type(module) in KINDS:
            module.__class__ = _ByTorch if by_torch else _Synchronised
            module.process_group = None  # type: ignore[assignment]  # all of them


def is_synchronised(network: nn.Module) -> bool:
    """Whether a forward pass of ``network`` in training waits for the other processes."""
    return any(isinstance(module, _ByTorch | _Synchronised) for module in network.modules())


@contextmanager
def gradients_alone() -> Iterator[None]:
    """Inside, a backward pass takes the sums of this process for those of all, and waits for nobody.

    For a gradient that is measured and not trained with: it need not reach the same norms in all processes.
    """
    _Alone.on = True
    try:
        yield
    finally:
        _Alone.on = False


class _Alone:
    on = False


class _ByTorch(nn.SyncBatchNorm):
    """torch's own."""


class _Synchronised(_BatchNorm):
    """The same on any device; batches of the processes may differ in size."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"a batch norm wants [B, C, ...], not {input.dim()} dimensions")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        output, mean, variance, count = _Normalise.apply(input, self.weight, self.bias, self.eps)
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            new = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            unbiased = variance * (count / (count - 1).clamp(min=1))
            self.running_mean.lerp_(mean.to(self.running_mean), new)
            self.running_var.lerp_(unbiased.to(self.running_var), new)
        result: Tensor = output
        return result


class _Normalise(Function):
    """Sums in float64, as torch's batch norm on a CPU; half precision is worked on in float32."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[B, C, ...] normalised; and mean [C], variance [C] and count of all processes, without gradient."""
        kind, values = values.dtype, _exact(values)
        others = [axis for axis in range(values.dim()) if axis != 1]
        count = values.new_tensor([values.numel() // values.shape[1]], dtype=torch.float64)
        sums = torch.cat([values.sum(others, dtype=torch.float64), count])
        dist.all_reduce(sums)
        count, mean = sums[-1], sums[:-1] / sums[-1]
        centred = values - _wide(mean, values)
        squares = (centred * centred).sum(others, dtype=torch.float64)
        dist.all_reduce(squares)
        variance = squares / count
        inverse = _wide((variance + eps).rsqrt(), values)
        normal = centred * inverse
        ctx.save_for_backward(normal, weight, inverse, count)
        ctx.mark_non_differentiable(mean, variance, count)
        output = normal
        if weight is not None and bias is not None:
            output = normal * _wide(weight, values) + _wide(bias, values)
        return output.to(kind), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """For weight and bias, the part of this process; that of the values is of the losses of all."""
        normal, weight, inverse, count = ctx.saved_tensors
        kind, gradient = gradient.dtype, _exact(gradient)
        others = [axis for axis in range(gradient.dim()) if axis != 1]
        own = torch.stack(
            [gradient.sum(others, dtype=torch.float64), (gradient * normal).sum(others, dtype=torch.float64)]
        )
        sums = own.clone()
        if not _Alone.on:
            dist.all_reduce(sums)
        mean, slope = (_wide(each / count, gradient) for each in sums)
        scale = inverse if weight is None else inverse * _wide(weight, gradient)
        values = (scale * (gradient - mean - normal * slope)).to(kind)
        if weight is None:
            return values, None, None, None
        return values, own[1].to(weight), own[0].to(weight), None


def _exact(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _wide(channels: Tensor, values: Tensor) -> Tensor:
    """[C] as [1, C, 1, ...] of the type of ``values``."""
    return channels.to(values).view(1, -1, *[1] * (values.dim() - 2))
