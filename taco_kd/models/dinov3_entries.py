"""The DINOv3 models there are: sizes, and the repositories and revisions of the published ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from taco_kd.models.detector import FeatureModel
from taco_kd.models.dinov3 import IMAGE_SIZE, DinoV3ConvNeXt, DinoV3ViT, rebuild_convnext, rebuild_vit
from taco_kd.models.entry import FeatureEntry, FeatureFamily, Published

LICENCE = "DINOv3 License (gated)"

CONVNEXT: dict[str, dict[str, Any]] = {
    "t": {"depths": [3, 3, 9, 3], "hidden_sizes": [96, 192, 384, 768]},
    "s": {"depths": [3, 3, 27, 3], "hidden_sizes": [96, 192, 384, 768]},
    "b": {"depths": [3, 3, 27, 3], "hidden_sizes": [128, 256, 512, 1024]},
    "l": {"depths": [3, 3, 27, 3], "hidden_sizes": [192, 384, 768, 1536]},
    "nano": {"depths": [1, 2, 4, 2], "hidden_sizes": [32, 64, 128, 192], "layer_scale_init_value": 1.0},
}

# The configuration's default is no register token; every published ViT has four.
VIT: dict[str, dict[str, Any]] = {
    "s": {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6},
    "b": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    "l": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
    "nano": {"hidden_size": 144, "intermediate_size": 576, "num_hidden_layers": 6, "num_attention_heads": 3},
}
REGISTERS = 4

# (repository, revision). Two are not pinned: no commit of them was at hand to check.
PUBLISHED = {
    "dinov3-convnext-t": ("convnext-tiny", "10d30274b4d445111e2d5bf75ac93bbd94db274b"),
    "dinov3-convnext-s": ("convnext-small", "main"),
    "dinov3-convnext-b": ("convnext-base", "main"),
    "dinov3-convnext-l": ("convnext-large", "e959efa74c867491dcfe3ec3e4f97382e39025b3"),
    "dinov3-vit-s": ("vits16", "114c1379950215c8b35dfcd4e90a5c251dde0d32"),
    "dinov3-vit-b": ("vitb16", "3a0fa61ff39414e2d3be4a1d50c7dfbf459aa8b8"),
    "dinov3-vit-l": ("vitl16", "ea8dc2863c51be0a264bab82070e3e8836b02d51"),
}

NANO_SIZE = 192
"""Input of the nano models, that of the nano detectors. No DINOv3 is so small: they are of its kind only."""

PACKAGED = {
    "dinov3-convnext-nano": "dinov3_convnext_nano_teacher.safetensors",
    "dinov3-vit-nano": "dinov3_vit_nano_teacher.safetensors",
}

NOTES = {
    "dinov3-convnext-nano": "nano recipes; packaged weights trained on synthetic scenes, none of DINOv3's",
    "dinov3-vit-nano": "nano recipes; packaged weights trained on synthetic scenes, none of DINOv3's",
    "dinov3-convnext-b": "the paper's ConvNeXt teacher: maps C2 to C5",
    "dinov3-vit-b": "the paper's ViT teacher: patch tokens on their grid, stride 16",
}


def build_convnext(size: str) -> DinoV3ConvNeXt:
    """DINOv3 ConvNeXt of size nano, t, s, b or l with random weights."""
    return rebuild_convnext(CONVNEXT[size], model_name=f"dinov3-convnext-{size}", image_size=_side(size))


def build_vit(size: str, blocks: tuple[int, ...] = ()) -> DinoV3ViT:
    """DINOv3 ViT/16 of size nano, s, b or l with random weights.

    Args:
        blocks: whose outputs to hand out, counted from 1; the last one's if empty.
    """
    architecture = {**VIT[size], "num_register_tokens": REGISTERS}
    if blocks:
        architecture["out_indices"] = list(blocks)
    return rebuild_vit(architecture, model_name=f"dinov3-vit-{size}", image_size=_side(size))


def _side(size: str) -> int:
    return NANO_SIZE if size == "nano" else IMAGE_SIZE


def _entry(
    name: str, family: str, build: Callable[[], FeatureModel], size: Mapping[str, Any]
) -> FeatureEntry:
    note = NOTES.get(name, "feature teacher")
    if name in PACKAGED:
        return FeatureEntry(name, family, build, NANO_SIZE, note, packaged=PACKAGED[name], size=size)
    repository, revision = PUBLISHED[name]
    published = Published(f"facebook/dinov3-{repository}-pretrain-lvd1689m", revision, LICENCE, classes="")
    return FeatureEntry(name, family, build, IMAGE_SIZE, note, published, LICENCE, size)


FAMILIES = (
    FeatureFamily(
        DinoV3ConvNeXt.family,
        "dinov3_convnext",
        tuple(
            _entry(f"dinov3-convnext-{s}", "DINOv3 ConvNeXt", partial(build_convnext, s), size)
            for s, size in CONVNEXT.items()
        ),
        rebuild_convnext,
    ),
    FeatureFamily(
        DinoV3ViT.family,
        "dinov3_vit",
        tuple(
            _entry(f"dinov3-vit-{s}", "DINOv3 ViT/16", partial(build_vit, s), size) for s, size in VIT.items()
        ),
        rebuild_vit,
    ),
)
