"""Conditional DETR teachers through transformers: Meng et al., ICCV 2021, arXiv:2108.06152."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from taco_kd.models.detector import IMAGENET_MEAN, IMAGENET_STD
from taco_kd.models.entry import Family, ModelEntry
from taco_kd.models.hf import HFDetector, sum_by_prefix
from taco_kd.models.rtdetr import NANO_HIDDEN_SIZES, nano_backbone_config
from taco_kd.types import FeatureSpec


class ConditionalDetr(HFDetector):
    """Conditional DETR; its published weights take ImageNet-normalised RGB."""

    family = "conditional-detr"
    class_layers = ("class_labels_classifier",)

    def backbone(self) -> nn.Module:
        return self.network.model.backbone  # type: ignore[no-any-return]

    def loss_terms(self, raw: Any) -> dict[str, Tensor]:
        config = self.network.config
        # The original weighs the class term with 2 (arXiv:2108.06152, section 4.1; cls_loss_coefficient), but
        # transformers 5.23 weighs it with 1 whatever the configuration says.
        weights = {
            "loss_ce": float(config.cls_loss_coefficient),
            "loss_bbox": float(config.bbox_loss_coefficient),
            "loss_giou": float(config.giou_loss_coefficient),
        }
        return sum_by_prefix(raw.loss_dict, weights)


def _start_from_prior(network: Any, probability: float = 0.01) -> None:
    """Bias of the classifier for a rare positive, as the original does and transformers does not.

    Focal loss, Lin et al., arXiv:1708.02002, section 4.1; matters only when training from random weights.
    """
    nn.init.constant_(network.class_labels_classifier.bias, -math.log((1 - probability) / probability))


def build_nano(class_names: Sequence[str]) -> ConditionalDetr:
    """A nano Conditional DETR on one stride-16 map; its backbone loads key for key from a nano RT-DETR."""
    from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection

    config = ConditionalDetrConfig(
        backbone_config=nano_backbone_config(["stage1", "stage2", "stage3"]),
        d_model=128,
        encoder_layers=2,
        decoder_layers=3,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        num_queries=60,
        dropout=0.0,
        auxiliary_loss=True,
        num_labels=len(class_names),
    )
    network = ConditionalDetrForObjectDetection(config)
    # transformers means to freeze the stem and the first stage, but its names ("stage.1") never occur in this
    # backbone ("stages.1"), so it froze everything: undo that.
    network.model.backbone.requires_grad_(True)
    _start_from_prior(network)
    levels = zip(("C2", "C3", "C4"), NANO_HIDDEN_SIZES[:3], (4, 8, 16), strict=True)
    return ConditionalDetr(
        network,
        model_name="conditional-detr-nano",
        class_names=class_names,
        image_size=192,
        features_spec=[FeatureSpec(*level) for level in levels],
    )


def build_r50(class_names: Sequence[str]) -> ConditionalDetr:
    """Conditional DETR R50, the paper's teacher."""
    from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection

    config = ConditionalDetrConfig(num_labels=len(class_names), auxiliary_loss=True)
    network = ConditionalDetrForObjectDetection(config)
    _start_from_prior(network)
    return ConditionalDetr(
        network,
        model_name="conditional-detr-r50",
        class_names=class_names,
        image_size=640,
        features_spec=[
            FeatureSpec("C2", 256, 4),
            FeatureSpec("C3", 512, 8),
            FeatureSpec("C4", 1024, 16),
            FeatureSpec("C5", 2048, 32),
        ],
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def rebuild(
    architecture: Mapping[str, Any], class_names: Sequence[str], *, model_name: str, image_size: int
) -> ConditionalDetr:
    """The network that a checkpoint of any size describes."""
    from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection

    network = ConditionalDetrForObjectDetection(
        ConditionalDetrConfig(**architecture, num_labels=len(class_names))
    )
    network.model.backbone.requires_grad_(True)
    channels = network.model.backbone.intermediate_channel_sizes
    levels = [(f"C{i}", width, 2**i) for i, width in enumerate(channels, start=2)]
    return ConditionalDetr(
        network,
        model_name=model_name,
        class_names=class_names,
        image_size=image_size,
        features_spec=[FeatureSpec(*level) for level in levels],
    )


ENTRIES = (
    ModelEntry(
        "conditional-detr-nano",
        "Conditional DETR",
        build_nano,
        192,
        "teacher of the demo; packaged weights trained on synthetic scenes",
        packaged="conditional_detr_nano_teacher.safetensors",
    ),
    ModelEntry(
        "conditional-detr-r50",
        "Conditional DETR",
        build_r50,
        640,
        "the paper's teacher; weights from a run folder or .safetensors file of ours",
    ),
)

FAMILY = Family(ConditionalDetr.family, ENTRIES, rebuild)
