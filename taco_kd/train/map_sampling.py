"""Looking at maps between their pixels, with gradients that are the same bits each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

_OURS = ("bilinear", "zeros", False)
"""Mode, padding and alignment of what ``grid_sample`` here can do."""


def grid_sample(maps: Tensor, grid: Tensor) -> Tensor:
    """``torch.nn.functional.grid_sample`` (bilinear, zeros around the map, corners not aligned) by gathering.

    The gradient of torch's own adds up, on a GPU, in whatever order its threads come; that of ``gather``
    keeps one order where deterministic algorithms are asked for. It takes more time and memory.

    Args:
        maps: [N, C, H, W].
        grid: [N, A, B, 2] places x, y, from -1 to 1 over the map.

    Returns:
        [N, C, A, B].
    """
    kind = torch.promote_types(maps.dtype, grid.dtype)
    maps, grid = maps.to(kind), grid.to(kind)
    count, channels, height, width = maps.shape
    x = ((grid[..., 0] + 1) * width - 1) / 2
    y = ((grid[..., 1] + 1) * height - 1) / 2
    flat, left, top = maps.flatten(2), x.detach().floor(), y.detach().floor()
    found = maps.new_zeros(count, channels, *grid.shape[1:3])
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
        share = (1 - (x - column).abs()) * (1 - (y - row).abs()) * inside
        each = flat.gather(2, place.flatten(1)[:, None].expand(-1, channels, -1)).view_as(found)
        found = found + each * share[:, None]
    return found


@contextmanager
def repeatable(everywhere: bool = False) -> Iterator[None]:
    """Have everybody who calls ``F.grid_sample`` on a GPU, for a gradient, use ours during the block.

    Args:
        everywhere: on a CPU as well, where torch's own is repeatable.
    """
    before = F.grid_sample

    def choose(
        maps: Tensor,
        grid: Tensor,
        mode: str = "bilinear",
        padding_mode: str = "zeros",
        align_corners: bool | None = None,
    ) -> Tensor:
        wanted = everywhere or (maps.is_cuda and torch.is_grad_enabled())
        if wanted and maps.ndim == 4 and (mode, padding_mode, bool(align_corners)) == _OURS:
            return grid_sample(maps, grid)
        return before(maps, grid, mode, padding_mode, align_corners)

    F.grid_sample = choose  # type: ignore[assignment]
    try:
        yield
    finally:
        F.grid_sample = before
