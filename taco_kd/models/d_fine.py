"""D-FINE teachers and students through transformers: Peng et al., ICLR 2025, arXiv:2410.13842."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from taco_kd.models.d_fine_loss import d_fine_loss
from taco_kd.models.entry import Family, ModelEntry, Published
from taco_kd.models.hf import backbone_levels, sum_by_prefix
from taco_kd.models.hf_encoders import HybridEncoder
from taco_kd.types import LayerOutput

TERMS = ("loss_vfl", "loss_bbox", "loss_giou", "loss_fgl", "loss_ddf")

_SMALL_STAGES = {
    "stem_channels": [3, 16, 16],
    "stage_in_channels": [16, 64, 256, 512],
    "stage_mid_channels": [16, 32, 64, 128],
    "stage_out_channels": [64, 256, 512, 1024],
    "stage_num_blocks": [1, 1, 2, 1],
    "stage_numb_of_layers": [3, 3, 3, 3],
    "use_learnable_affine_block": True,
}
BACKBONES: dict[str, dict[str, Any]] = {
    "n": {**_SMALL_STAGES, "out_indices": [3, 4]},
    "s": _SMALL_STAGES,
    "m": {
        "stem_channels": [3, 24, 32],
        "stage_in_channels": [32, 96, 384, 768],
        "stage_mid_channels": [32, 64, 128, 256],
        "stage_out_channels": [96, 384, 768, 1536],
        "stage_num_blocks": [1, 1, 3, 1],
        "stage_numb_of_layers": [4, 4, 4, 4],
        "use_learnable_affine_block": True,
    },
    "l": {},
    "x": {
        "stem_channels": [3, 32, 64],
        "stage_in_channels": [64, 128, 512, 1024],
        "stage_mid_channels": [64, 128, 256, 512],
        "stage_num_blocks": [1, 2, 5, 2],
    },
}
"""HGNetv2 of each size, where it differs from L's, which is transformers' default."""

SIZES: dict[str, dict[str, Any]] = {
    "n": {
        "feat_strides": [16, 32],
        "num_feature_levels": 2,
        "encode_proj_layers": [1],
        "encoder_hidden_dim": 128,
        "encoder_ffn_dim": 512,
        "hidden_expansion": 0.34,
        "depth_mult": 0.5,
        "d_model": 128,
        "decoder_in_channels": [128, 128],
        "decoder_ffn_dim": 512,
        "decoder_layers": 3,
        "decoder_n_points": [6, 6],
    },
    "s": {"hidden_expansion": 0.5, "depth_mult": 0.34, "decoder_layers": 3},
    "m": {"depth_mult": 0.67, "decoder_layers": 4},
    "l": {},
    "x": {"encoder_hidden_dim": 384, "encoder_ffn_dim": 2048, "decoder_in_channels": [384, 384, 384]},
}

PUBLISHED = {
    "n": ("ustc-community/dfine-nano-coco", "066438d3d8f0da137a37b38fdf3368fd4afceced", 42.8),
    "s": ("ustc-community/dfine-small-coco", "f79e65b5fbb33ceb9d3ebba042955d7410c608f8", 48.5),
    "m": ("ustc-community/dfine-medium-coco", "4ab9f5e466432f4fcf9a9a023da6aa5ecc9c9829", 52.3),
    "l": ("ustc-community/dfine-large-coco", "aa8f8211545e4cff5adf52ea512f9ac74a9824ec", 54.0),
    "x": ("ustc-community/dfine-xlarge-coco", "main", 55.8),
}
"""Repository on the hub, revision, AP on COCO. "main": the commit is not known to us, so it is not pinned."""


class DFine(HybridEncoder):
    """D-FINE. Its published weights take RGB in 0..1 without mean and std."""

    family = "d-fine"
    class_layers = ("class_embed", "enc_score_head")

    def backbone(self) -> nn.Module:
        return self.network.model.backbone  # type: ignore[no-any-return]

    def losses(self, raw: Any, labels: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        # transformers 5.23 pairs the wrong layers; see d_fine_loss
        return sum_by_prefix(d_fine_loss(self.network.config, raw, labels), dict.fromkeys(TERMS, 1.0))

    def loss_terms(self, raw: Any) -> dict[str, Tensor]:
        return sum_by_prefix(raw.loss_dict, dict.fromkeys(TERMS, 1.0))

    def matching_part(self, raw: Any) -> tuple[Tensor, Tensor]:
        # In training the denoising queries stand before the matching ones; boxes are decoded from distances
        # to a reference, so they can leave 0..1 by a little, and the loss clamps them too.
        logits, boxes = raw.logits, raw.pred_boxes.clamp(0, 1)
        meta = raw.denoising_meta_values
        if not self.training or meta is None:
            return logits, boxes
        split = meta["dn_num_split"]
        return torch.split(logits, split, dim=1)[1], torch.split(boxes, split, dim=1)[1]

    def layer_outputs(self, raw: Any) -> list[LayerOutput]:
        meta = raw.denoising_meta_values
        first = meta["dn_num_split"][0] if self.training and meta is not None else 0
        # in training the boxes before the first refinement stand before the layers; see d_fine_loss
        before = raw.intermediate_logits.shape[1] - raw.intermediate_predicted_corners.shape[1]
        logits = raw.intermediate_logits[:, before:-1, first:].unbind(1)
        boxes = raw.intermediate_reference_points[:, before:-1, first:].clamp(0, 1).unbind(1)
        return [LayerOutput(*layer) for layer in zip(logits, boxes, strict=True)]


def _detector(config: Any, class_names: Sequence[str], **kwargs: Any) -> DFine:
    from transformers import DFineForObjectDetection

    levels = backbone_levels(config, config.encoder_in_channels)
    return DFine(DFineForObjectDetection(config), class_names=class_names, features_spec=levels, **kwargs)


def build(class_names: Sequence[str], *, size: str) -> DFine:
    """D-FINE N, S, M, L or X, as the published configurations have it."""
    from transformers import DFineConfig, HGNetV2Config

    backbone = HGNetV2Config(**{"out_indices": [2, 3, 4], **BACKBONES[size]})
    backbone.hidden_sizes = list(backbone.stage_out_channels)
    points = {"decoder_n_points": [3, 6, 3]}
    config = DFineConfig(
        backbone_config=backbone,
        encoder_in_channels=[backbone.stage_out_channels[i - 1] for i in backbone.out_indices],
        num_labels=len(class_names),
        **{**points, **SIZES[size]},
    )
    return _detector(config, class_names, model_name=f"dfine-{size}", image_size=640)


def rebuild(
    architecture: Mapping[str, Any], class_names: Sequence[str], *, model_name: str, image_size: int
) -> DFine:
    """The network that a checkpoint of any size describes."""
    from transformers import DFineConfig

    config = DFineConfig(**architecture, num_labels=len(class_names))
    return _detector(config, class_names, model_name=model_name, image_size=image_size)


ENTRIES = tuple(
    ModelEntry(
        f"dfine-{size}",
        "D-FINE",
        partial(build, size=size),
        640,
        f"HGNetv2; {ap} AP on COCO",
        published=Published(repo, revision, "Apache-2.0", "coco-80"),
    )
    for size, (repo, revision, ap) in PUBLISHED.items()
)

FAMILY = Family(DFine.family, ENTRIES, rebuild, model_types=("d_fine",))
