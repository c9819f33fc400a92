"""DAB-DETR teachers through transformers: Liu et al., ICLR 2022, arXiv:2201.12329."""

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

TRAINING = {"auxiliary_loss": True}
"""What the original trains with, whatever a published configuration says."""


class DabDetr(HFDetector):
    """DAB-DETR; its published weights take ImageNet-normalised RGB."""

    family = "dab-detr"
    class_layers = ("class_embed",)

    def backbone(self) -> nn.Module:
        return self.network.model.backbone.conv_encoder  # type: ignore[no-any-return]

    def loss_terms(self, raw: Any) -> dict[str, Tensor]:
        config = self.network.config
        # The original's default weight of the class term is 1; so does transformers weigh it, although its
        # configuration says 2 (cls_loss_coefficient, which nothing reads).
        weights = {
            "loss_ce": 1.0,
            "loss_bbox": float(config.bbox_loss_coefficient),
            "loss_giou": float(config.giou_loss_coefficient),
        }
        return sum_by_prefix(raw.loss_dict, weights)


def _detector(config: Any, class_names: Sequence[str], **kwargs: Any) -> DabDetr:
    from transformers import DabDetrForObjectDetection

    network = DabDetrForObjectDetection(config)
    start_from_prior(network.class_embed)
    train_all_but_stem(network.model.backbone)
    levels = backbone_levels(config, network.model.backbone.conv_encoder.intermediate_channel_sizes)
    return DabDetr(network, class_names=class_names, features_spec=levels, **kwargs)


def build_r50(class_names: Sequence[str]) -> DabDetr:
    """DAB-DETR R50; no dropout, as the original trains it."""
    from transformers import DabDetrConfig

    config = DabDetrConfig(num_labels=len(class_names), dropout=0.0, **TRAINING)
    return _detector(
        config,
        class_names,
        model_name="dab-detr-r50",
        image_size=800,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def rebuild(
    architecture: Mapping[str, Any], class_names: Sequence[str], *, model_name: str, image_size: int
) -> DabDetr:
    """The network that a checkpoint of any size describes."""
    from transformers import DabDetrConfig

    config = DabDetrConfig(**{**architecture, **TRAINING}, num_labels=len(class_names))
    return _detector(config, class_names, model_name=model_name, image_size=image_size)


ENTRIES = (
    ModelEntry(
        "dab-detr-r50",
        "DAB-DETR",
        build_r50,
        800,
        "queries are anchor boxes; 42.2 AP on COCO",
        published=Published("IDEA-Research/dab-detr-resnet-50", "main", "Apache-2.0", "coco-91"),
    ),
)

FAMILY = Family(DabDetr.family, ENTRIES, rebuild, model_types=("dab-detr",))
