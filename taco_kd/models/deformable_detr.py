"""Deformable DETR teachers through transformers: Zhu et al., ICLR 2021, arXiv:2010.04159."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from taco_kd.models.detector import IMAGENET_MEAN, IMAGENET_STD
from taco_kd.models.entry import Family, ModelEntry, Published
from taco_kd.models.hf import (
    HFDetector,
    backbone_levels,
    start_from_prior,
    sum_by_prefix,
    train_all_but_stem,
)

CLASS_WEIGHT = 2.0
"""Weight of the class term in the original's loss and matching; transformers has 1 in both."""

TRAINING = {"auxiliary_loss": True, "class_cost": int(CLASS_WEIGHT), "disable_custom_kernels": True}
"""What the original trains with, whatever a published configuration says; attention in plain torch."""


class DeformableDetr(HFDetector):
    """Deformable DETR; its published weights take ImageNet-normalised RGB."""

    family = "deformable-detr"
    class_layers = ("class_embed",)

    def backbone(self) -> nn.Module:
        return self.network.model.backbone  # type: ignore[no-any-return]

    def loss_terms(self, raw: Any) -> dict[str, Tensor]:
        config = self.network.config
        weights = {
            "loss_ce": CLASS_WEIGHT,
            "loss_bbox": float(config.bbox_loss_coefficient),
            "loss_giou": float(config.giou_loss_coefficient),
        }
        return sum_by_prefix(raw.loss_dict, weights)


def _detector(config: Any, class_names: Sequence[str], **kwargs: Any) -> DeformableDetr:
    from transformers import DeformableDetrForObjectDetection

    network = DeformableDetrForObjectDetection(config)
    start_from_prior(*network.class_embed)
    train_all_but_stem(network.model.backbone)
    levels = backbone_levels(config, network.model.backbone.intermediate_channel_sizes)
    return DeformableDetr(network, class_names=class_names, features_spec=levels, **kwargs)


def build_r50(class_names: Sequence[str]) -> DeformableDetr:
    """Deformable DETR R50: one stage, without box refinement. Its attention runs in plain torch."""
    from transformers import DeformableDetrConfig

    config = DeformableDetrConfig(num_labels=len(class_names), **TRAINING)
    return _detector(
        config,
        class_names,
        model_name="deformable-detr-r50",
        image_size=800,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def rebuild(
    architecture: Mapping[str, Any], class_names: Sequence[str], *, model_name: str, image_size: int
) -> DeformableDetr:
    """The network that a checkpoint of any size describes."""
    from transformers import DeformableDetrConfig

    config = DeformableDetrConfig(**{**architecture, **TRAINING}, num_labels=len(class_names))
    return _detector(config, class_names, model_name=model_name, image_size=image_size)


ENTRIES = (
    ModelEntry(
        "deformable-detr-r50",
        "Deformable DETR",
        build_r50,
        800,
        "four scales; 44.5 AP on COCO",
        published=Published(
            "SenseTime/deformable-detr", "83ecd26945199939cb82806f988debdb71e6f43e", "Apache-2.0", "coco-91"
        ),
    ),
)

FAMILY = Family(DeformableDetr.family, ENTRIES, rebuild, model_types=("deformable_detr",))
