"""Does a ViT teacher's map lie where the image is? Paint one patch, see which place of the map changes most.

    python benchmarks/feature_grid.py [--side 112]

Compared: our map of DINOv3 ViT-S/16 with 4 registers (random weights: where a token lies does not depend on
them), and the two ways of getting it wrong that keep the register tokens in the list.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from taco_kd.models.dinov3_entries import build_vit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=112, help="pixels, a multiple of 16")
    side = parser.parse_args().side
    cells = side // 16
    torch.manual_seed(0)
    model = build_vit("s")

    def tokens(images: Tensor) -> Tensor:
        """Without the CLS token, with the registers: [B, K, 4 + h*w]."""
        return model.network(model.normalised(images)).last_hidden_state[:, 1:].transpose(1, 2)

    def resized_list(images: Tensor) -> Tensor:
        model.tokens = "as-released"
        found = model(images)[0].tensor
        model.tokens = "grid"
        return found

    maps: dict[str, Callable[[Tensor], Tensor]] = {
        "on the grid (ours)": lambda images: model(images)[0].tensor,
        "list with registers, resized": resized_list,
        "list with registers, cut": lambda images: tokens(images)[..., : cells**2].unflatten(
            2, (cells, cells)
        ),
    }
    generator = torch.Generator().manual_seed(1)
    plain = 0.5 + 0.02 * torch.randn(1, 3, side, side, generator=generator)
    hits, distance = dict.fromkeys(maps, 0), dict.fromkeys(maps, 0)
    with torch.no_grad():
        before = {name: of(plain) for name, of in maps.items()}
        for row in range(cells):
            painted = plain.repeat(cells, 1, 1, 1)
            for column in range(cells):
                patch = torch.rand(3, 16, 16, generator=generator)
                painted[column, :, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = patch
            for name, of in maps.items():
                changed = (of(painted) - before[name]).norm(dim=1).flatten(1).argmax(1).tolist()
                for column, place in enumerate(changed):
                    found = divmod(place, cells)
                    hits[name] += found == (row, column)
                    distance[name] += abs(found[0] - row) + abs(found[1] - column)
    for name in maps:
        print(
            f"{name:30} right {hits[name]}/{cells**2}, {distance[name] / cells**2:.2f} cells off on average"
        )


if __name__ == "__main__":
    main()
