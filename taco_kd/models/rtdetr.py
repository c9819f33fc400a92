"""RT-DETR students through transformers: Zhao et al., arXiv:2304.08069; v2: Lv et al., arXiv:2407.17140."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from taco_kd.models.entry import Family, ModelEntry
from taco_kd.models.hf import HFDetector, sum_by_prefix
from taco_kd.types import FeatureSpec

NANO_HIDDEN_SIZES = (32, 64, 96, 128)
"""Channels of the four stages of the nano backbone; the nano Conditional DETR shares the first three."""


def nano_backbone_config(out_features: Sequence[str]) -> Any:
    """A ResNet-vd of one basic block a stage, 3x3 deep stem, as RT-DETR's own R18 is built.

    It ends with the last stage whose map is wanted.
    """
    from transformers import RTDetrResNetConfig

    stages = max(int(name.removeprefix("stage")) for name in out_features)
    return RTDetrResNetConfig(
        embedding_size=32,
        hidden_sizes=list(NANO_HIDDEN_SIZES[:stages]),
        depths=[1] * stages,
        layer_type="basic",
        out_features=list(out_features),
    )


class RTDetr(HFDetector):
    """RT-DETRv2. Its published weights take RGB in 0..1 without mean and std."""

    family = "rtdetr"
    class_layers = ("class_embed", "enc_score_head")

    def backbone(self) -> nn.Module:
        return self.network.model.backbone  # type: ignore[no-any-return]

    def loss_terms(self, raw: Any) -> dict[str, Tensor]:
        # transformers has multiplied these by their weights already
        return sum_by_prefix(raw.loss_dict, {"loss_vfl": 1.0, "loss_bbox": 1.0, "loss_giou": 1.0})

    def matching_part(self, raw: Any) -> tuple[Tensor, Tensor]:
        # In training the denoising queries stand before the matching ones.
        meta = raw.denoising_meta_values
        if not self.training or meta is None:
            return raw.logits, raw.pred_boxes
        split = meta["dn_num_split"]
        return torch.split(raw.logits, split, dim=1)[1], torch.split(raw.pred_boxes, split, dim=1)[1]


def build_nano(class_names: Sequence[str]) -> RTDetr:
    """RT-DETRv2 small enough to train on two CPU cores (about 2 M parameters, 192 px)."""
    from transformers import RTDetrV2Config, RTDetrV2ForObjectDetection

    config = RTDetrV2Config(
        backbone_config=nano_backbone_config(["stage2", "stage3", "stage4"]),
        freeze_backbone_batch_norms=False,  # trained from random weights, so the statistics must move
        encoder_in_channels=list(NANO_HIDDEN_SIZES[1:]),
        encoder_hidden_dim=96,
        encoder_ffn_dim=192,
        encoder_attention_heads=4,
        hidden_expansion=0.5,
        d_model=96,
        decoder_in_channels=[96, 96, 96],
        decoder_ffn_dim=192,
        decoder_layers=3,
        decoder_attention_heads=3,  # 32 channels a head: deformable attention wants a power of two
        num_queries=60,
        num_denoising=30,
        num_labels=len(class_names),
    )
    strides = zip(("C3", "C4", "C5"), NANO_HIDDEN_SIZES[1:], (8, 16, 32), strict=True)
    return RTDetr(
        RTDetrV2ForObjectDetection(config),
        model_name="rtdetr-nano",
        class_names=class_names,
        image_size=192,
        features_spec=[FeatureSpec(*level) for level in strides],
    )


def build_r50(class_names: Sequence[str]) -> RTDetr:
    """RT-DETRv2 R50-vd, the paper's "RT-DETR-L": 42,850,272 parameters with 60 classes."""
    from transformers import RTDetrV2Config, RTDetrV2ForObjectDetection

    return RTDetr(
        RTDetrV2ForObjectDetection(RTDetrV2Config(num_labels=len(class_names))),
        model_name="rtdetr-r50",
        class_names=class_names,
        image_size=640,
        features_spec=[
            FeatureSpec("C3", 512, 8),
            FeatureSpec("C4", 1024, 16),
            FeatureSpec("C5", 2048, 32),
        ],
    )


def rebuild(
    architecture: Mapping[str, Any], class_names: Sequence[str], *, model_name: str, image_size: int
) -> RTDetr:
    """The network that a checkpoint of any size describes."""
    from transformers import RTDetrV2Config, RTDetrV2ForObjectDetection

    config = RTDetrV2Config(**architecture, num_labels=len(class_names))
    network = RTDetrV2ForObjectDetection(config)
    names = [f"C{level}" for level in range(6 - len(config.encoder_in_channels), 6)]
    levels = zip(names, config.encoder_in_channels, config.feat_strides, strict=True)
    return RTDetr(
        network,
        model_name=model_name,
        class_names=class_names,
        image_size=image_size,
        features_spec=[FeatureSpec(*level) for level in levels],
    )


ENTRIES = (
    ModelEntry(
        "rtdetr-nano",
        "RT-DETRv2",
        build_nano,
        192,
        "student of the demo; packaged weights: 950 steps on synthetic scenes",
        packaged="rtdetr_nano_initial.safetensors",
    ),
    ModelEntry(
        "rtdetr-r50",
        "RT-DETRv2",
        build_r50,
        640,
        "the paper's RT-DETR-L (R50-vd); weights from a run folder or .safetensors file of ours",
    ),
)

FAMILY = Family(RTDetr.family, ENTRIES, rebuild)
