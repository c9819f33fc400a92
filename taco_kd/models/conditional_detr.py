"""Conditional DETR teachers through transformers: Meng et al., ICCV 2021, arXiv:2108.06152."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from taco_kd.models.detector import IMAGENET_MEAN, IMAGENET_STD
from taco_kd.models.entry import Family, ModelEntry, Published
from taco_kd.models.hf import (
    backbone_levels,
    start_from_prior,
    sum_by_prefix,
    train_all_but_stem,
)
from taco_kd.models.hf_encoders import PlainEncoder
from taco_kd.models.rtdetr import nano_backbone_config

PAPER_SIZE = 640
"""The paper feeds teacher and student the same 640 px; the weights were trained on 800 to 1,333 px."""

TRAINING = {"auxiliary_loss": True}
"""What the original trains with, whatever a published configuration says."""


class ConditionalDetr(PlainEncoder):
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


def _detector(config: Any, class_names: Sequence[str], **kwargs: Any) -> ConditionalDetr:
    from transformers import ConditionalDetrForObjectDetection

    network = ConditionalDetrForObjectDetection(config)
    start_from_prior(network.class_labels_classifier)
    train_all_but_stem(network.model.backbone)
    levels = backbone_levels(config, network.model.backbone.intermediate_channel_sizes)
    return ConditionalDetr(network, class_names=class_names, features_spec=levels, **kwargs)


def build_nano(class_names: Sequence[str]) -> ConditionalDetr:
    """A nano Conditional DETR on one stride-16 map; its backbone loads key for key from a nano RT-DETR."""
    from transformers import ConditionalDetrConfig

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
    return _detector(config, class_names, model_name="conditional-detr-nano", image_size=192)


def build_full(class_names: Sequence[str], *, depth: int) -> ConditionalDetr:
    """Conditional DETR with a ResNet of 50 or 101 layers; R50 is the paper's teacher."""
    from transformers import ConditionalDetrConfig

    config = ConditionalDetrConfig(backbone=f"resnet{depth}", num_labels=len(class_names), **TRAINING)
    return _detector(
        config,
        class_names,
        model_name=f"conditional-detr-r{depth}",
        image_size=PAPER_SIZE,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def rebuild(
    architecture: Mapping[str, Any], class_names: Sequence[str], *, model_name: str, image_size: int
) -> ConditionalDetr:
    """The network that a checkpoint of any size describes."""
    from transformers import ConditionalDetrConfig

    config = ConditionalDetrConfig(**{**architecture, **TRAINING}, num_labels=len(class_names))
    return _detector(config, class_names, model_name=model_name, image_size=image_size)


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
        partial(build_full, depth=50),
        PAPER_SIZE,
        "the paper's teacher; 40.9 AP on COCO",
        published=Published("microsoft/conditional-detr-resnet-50", "main", "Apache-2.0", "coco-91"),
    ),
    ModelEntry(
        "conditional-detr-r101",
        "Conditional DETR",
        partial(build_full, depth=101),
        PAPER_SIZE,
        "larger teacher; no weights on the hub, train it or convert the authors'",
    ),
)

FAMILY = Family(ConditionalDetr.family, ENTRIES, rebuild, model_types=("conditional_detr",))
