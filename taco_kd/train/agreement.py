"""Do all processes of a distributed run hold the same gradients? In the paper's released code they did not:
its loop called ``model.module``, which goes past the hooks that average them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from taco_kd.errors import TacoKDError

TOLERANCE = 1e-5
"""Largest difference between ranks, relative to the gradient; after an all-reduce there is none."""


def ranks() -> int:
    """Processes that train together; 1 without ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.no_grad()
def fingerprint(parameters: Iterable[nn.Parameter]) -> Tensor:
    """[P, 3] of each gradient: its sum, the sum of its magnitudes, and a sum in which each place counts
    otherwise; zeros where there is none."""
    rows = []
    for parameter in parameters:
        if parameter.grad is None:
            rows.append(torch.zeros(3, dtype=torch.float64, device=parameter.device))
            continue
        flat = parameter.grad.detach().double().flatten()
        places = torch.linspace(-1, 1, len(flat), dtype=torch.float64, device=flat.device)
        rows.append(torch.stack([flat.sum(), flat.abs().sum(), (flat * places).sum()]))
    return torch.stack(rows)


def require_agreement(named: Iterable[tuple[str, nn.Parameter]], *, step: int) -> bool:
    """After ``backward``, on every rank: whether all ranks hold the same gradients.

    Returns:
        False when there is one process, and so nothing to compare.

    Raises:
        TacoKDError: they do not; names the first parameter that differs.
    """
    if ranks() == 1:
        return False
    names, parameters = zip(*named, strict=True)
    own = fingerprint(parameters)
    everyone = [torch.empty_like(own) for _ in range(ranks())]
    dist.all_gather(everyone, own)
    table = torch.stack(everyone)  # [R, P, 3]
    spread = (table - table[0]).abs().amax(dim=(0, 2))
    differs = spread > TOLERANCE * table[..., 1].amax(dim=0).clamp(min=1e-30)
    if differs.any():
        first = names[int(differs.nonzero()[0])]
        raise TacoKDError(
            f"gradients differ between the {ranks()} ranks at step {step}, first in {first}: they are not "
            "synchronised, so each rank trains a model of its own; call the wrapped model, not its .module"
        )
    return True
