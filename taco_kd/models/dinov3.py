"""DINOv3 backbones as teachers of features: Simeoni et al., arXiv:2508.10104. Through transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Self

from taco_kd.models.detector import IMAGENET_MEAN, IMAGENET_STD, FeatureModel
from taco_kd.types import FeatureMap, FeatureSpec

Tokens = Literal["grid", "as-released"]

IMAGE_SIZE = 640
"""The paper's input, for which costs are given; every model takes images of any size."""


class _DinoV3(FeatureModel):
    """What the two kinds share: always frozen and in eval mode, ImageNet normalisation, whole cells only.

    In training mode the ViT would draw a random scale for its positions at every forward (RoPE rescale), so
    ``train()`` leaves these models as they are.
    """

    def __init__(
        self, network: Any, *, model_name: str, image_size: int, features_spec: Sequence[FeatureSpec]
    ) -> None:
        super().__init__(
            network.eval().requires_grad_(False),
            model_name=model_name,
            image_size=image_size,
            features_spec=features_spec,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        )
        super().train(False)
        self.cell = max(spec.stride for spec in features_spec)

    def train(self, mode: bool = True) -> Self:
        return self

    def architecture(self) -> Mapping[str, Any]:
        config = self.network.config.to_diff_dict()
        return {k: v for k, v in config.items() if k != "transformers_version"}

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[FeatureMap]:
        """Maps of ``images`` [B, 3, H, W] in 0..1, as ``features_spec`` says, without gradient.

        Where a side is not a multiple of the coarsest stride c it is stretched to the next one (bilinear), so
        that each map covers exactly the whole image; the network by itself would cut off the rest of it, and
        its maps would lie shifted against the student's. A map of stride s has ceil(H / c) * c / s rows.
        """
        height, width = (-(-side // self.cell) * self.cell for side in images.shape[-2:])
        if images.shape[-2:] != (height, width):
            images = F.interpolate(images, size=(height, width), mode="bilinear", antialias=True)
        maps = self.maps(self.normalised(images))
        return [
            FeatureMap(tensor, spec.stride, spec.name)
            for tensor, spec in zip(maps, self.features_spec, strict=True)
        ]

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Maps of normalised pixels whose sides are multiples of the coarsest stride."""
        raise NotImplementedError


class DinoV3ConvNeXt(_DinoV3):
    """DINOv3 ConvNeXt: the outputs of its four stages, C2 to C5, as they leave the stage (no final norm)."""

    family = "dinov3-convnext"

    def maps(self, pixels: Tensor) -> list[Tensor]:
        # hidden_states[0] is the image itself
        return list(self.network(pixels, output_hidden_states=True).hidden_states[1:])


class DinoV3ViT(_DinoV3):
    """DINOv3 ViT: the patch tokens of one or more blocks, after the final norm, on their 2-D grid.

    The CLS token and the register tokens stand before the patches in the sequence and belong to no place in
    the image: they are dropped. Which blocks, counted from 1, are the configuration's ``out_indices``.
    """

    family = "dinov3-vit"
    tokens: Tokens = "grid"
    """how the sequence becomes a map; ``as-released`` is a fault of the paper's code: see ``as_released``"""

    def architecture(self) -> Mapping[str, Any]:
        return {**super().architecture(), **({} if self.tokens == "grid" else {"tokens": self.tokens})}

    def maps(self, pixels: Tensor) -> list[Tensor]:
        config = self.network.config
        rows, columns = (side // config.patch_size for side in pixels.shape[-2:])
        hidden = self.network(pixels, output_hidden_states=list(config.out_indices)).hidden_states
        maps = []
        for block in config.out_indices:
            tokens = self.network.norm(hidden[block])  # [B, 1 + registers + h*w, K]
            if self.tokens == "as-released":
                line = as_released(tokens, rows * columns)  # [B, K, h*w]
            else:
                line = tokens[:, 1 + config.num_register_tokens :].transpose(1, 2)
            maps.append(line.reshape(len(line), -1, rows, columns))
        return maps


def as_released(tokens: Tensor, places: int) -> Tensor:
    """[B, 1 + registers + h*w, K] as [B, K, h*w], the way the paper's released code does it.

    Only the CLS token is dropped. Registers and patches together are resized to h*w as if they were samples
    of one line. So the first places hold registers, which describe no place, and every patch is mixed with
    its neighbour in reading order and moved on: by four places at the beginning, by none at the end.
    """
    return F.interpolate(tokens[:, 1:].transpose(1, 2), size=places, mode="linear")


def rebuild_convnext(
    architecture: Mapping[str, Any], *, model_name: str, image_size: int = IMAGE_SIZE
) -> DinoV3ConvNeXt:
    """The ConvNeXt that a configuration describes, with random weights."""
    from transformers import DINOv3ConvNextConfig, DINOv3ConvNextModel

    network = DINOv3ConvNextModel(DINOv3ConvNextConfig(**architecture))
    levels = zip(("C2", "C3", "C4", "C5"), network.config.hidden_sizes, (4, 8, 16, 32), strict=True)
    spec = [FeatureSpec(*level) for level in levels]
    return DinoV3ConvNeXt(network, model_name=model_name, image_size=image_size, features_spec=spec)


def rebuild_vit(
    architecture: Mapping[str, Any], *, model_name: str, image_size: int = IMAGE_SIZE
) -> DinoV3ViT:
    """The ViT that a configuration describes, with random weights."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    settings = dict(architecture)
    tokens = settings.pop("tokens", "grid")
    network = DINOv3ViTModel(DINOv3ViTConfig(**settings))
    config = network.config
    spec = [
        FeatureSpec(f"block{block}", config.hidden_size, config.patch_size) for block in config.out_indices
    ]
    model = DinoV3ViT(network, model_name=model_name, image_size=image_size, features_spec=spec)
    model.tokens = tokens
    return model
