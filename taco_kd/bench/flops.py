"""Parameters and floating-point operations of a model, and by name the operators that were not counted.

Counted: convolutions and matrix products, with the formulas of ``torch.utils.flop_counter``. By convention
elementwise operators cost nothing; ``Cost.uncounted`` names the other operators that computed something.

Three ways to count too little, all closed here: attention that runs as one fused kernel (zero on a CPU), the
fused fast path of ``nn.TransformerEncoderLayer``, and counters that know modules but not functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

NO_KERNEL = frozenset({"_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "_reshape_alias"})
"""Operators that start nothing on the device: they allocate, or look at the same memory differently."""

MOVES_OR_FILLS = frozenset(
    {"_is_all_true", "_local_scalar_dense", "_to_copy", "arange", "cat", "clone", "constant_pad_nd", "copy_"}
    | {"embedding", "eye", "fill_", "full", "full_like", "gather", "index", "index_put_", "index_select"}
    | {"linspace", "masked_select", "new_ones", "new_zeros", "nonzero", "ones", "ones_like", "repeat", "roll"}
    | {"scalar_tensor", "select_scatter", "slice_scatter", "stack", "zero_", "zeros", "zeros_like"}
)
"""Operators without arithmetic: they move, fill or look up."""


@dataclass(frozen=True)
class Kernel:
    """One operator that ran.

    Attributes:
        name: of the operator, as ``grid_sampler_2d``.
        flops: by the formula, 0 where there is none.
        bytes_moved: size of its inputs and outputs.
        counted: whether there is a formula.
        elementwise: whether it works on each element alone.
    """

    name: str
    flops: int
    bytes_moved: int
    counted: bool
    elementwise: bool


@dataclass(frozen=True)
class Cost:
    """Size and work of a model for one image; ``gflops`` is twice ``gmacs``."""

    parameters: int
    trainable: int
    buffers: int
    gmacs: float
    gflops: float
    uncounted: list[str]


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operator below autograd that reaches the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: list[Kernel] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func.overloadpacket
        name = packet.__name__
        if not func.is_view and name not in NO_KERNEL:
            formula = flop_registry.get(packet)
            tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
            self.kernels.append(
                Kernel(
                    name=name,
                    flops=int(formula(*args, **kwargs, out_val=out)) if formula else 0,
                    bytes_moved=sum(t.numel() * t.element_size() for t in tensors),
                    counted=formula is not None,
                    elementwise=torch.Tag.pointwise in func.tags,
                )
            )
        return out


@contextmanager
def unfused(model: nn.Module) -> Iterator[None]:
    """Attention as plain matrix products, in eval mode, without gradients; all restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for module, training in modes:  # one by one: frozen layers may be in eval inside a model in training
            module.training = training
        torch.backends.mha.set_fastpath_enabled(fast_path)


def trace(model: nn.Module, image_size: int) -> list[Kernel]:
    """The operators of one forward of ``model`` on one blank image [1, 3, image_size, image_size]."""
    device = next(model.parameters()).device
    images = torch.zeros(1, 3, image_size, image_size, device=device)
    recorder = _Recorder()
    with unfused(model):
        model(images)  # the first forward also fills caches, such as RT-DETR's anchors: not counted
        with recorder:
            model(images)
    return recorder.kernels


def summarise(model: nn.Module, kernels: Sequence[Kernel]) -> Cost:
    """The cost of a model whose forward ran ``kernels``."""
    gmacs = sum(k.flops for k in kernels) / 2 / 1e9
    missed: dict[str, int] = {}
    for k in kernels:
        if not (k.counted or k.elementwise or k.name in MOVES_OR_FILLS):
            missed[k.name] = missed.get(k.name, 0) + k.bytes_moved
    return Cost(
        parameters=sum(p.numel() for p in model.parameters()),
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        buffers=sum(b.numel() for b in model.buffers()),
        gmacs=gmacs,
        gflops=2 * gmacs,
        uncounted=sorted(missed, key=lambda name: (-missed[name], name)),
    )


def count(model: nn.Module, image_size: int) -> Cost:
    """Parameters and operations of ``model`` for one image [1, 3, image_size, image_size].

    ``uncounted`` names operators with arithmetic but no formula, those that touch most memory first.
    """
    return summarise(model, trace(model, image_size))
