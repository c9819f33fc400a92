"""DETR teachers through transformers: Carion et al., ECCV 2020, arXiv:2005.12872."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from taco_kd.models.detector import IMAGENET_MEAN, IMAGENET_STD
from taco_kd.models.entry import Family, ModelEntry, Published
from taco_kd.models.hf import backbone_levels, sum_by_prefix, train_all_but_stem
from taco_kd.models.hf_encoders import PlainEncoder
from taco_kd.types import LayerOutput

TRAINING = {"auxiliary_loss": True}
"""What the original trains with, whatever a published configuration says."""


def sigmoid_logits(softmax_logits: Tensor) -> Tensor:
    """Logits whose sigmoid is the softmax probability of each class; exact, also near 0 and 1.

    The logit of p_c = softmax(z)_c is z_c minus the logarithm of the sum of the other exp(z). For the best
    class that sum is taken directly, since 1 - p_c would cancel; every other p_c is at most one half.

    Args:
        softmax_logits: [..., C + 1], the last one "no object".

    Returns:
        [..., C].
    """
    z = softmax_logits.float()
    best = z.argmax(dim=-1, keepdim=True)
    rest_of_best = z.scatter(-1, best, -math.inf).logsumexp(dim=-1, keepdim=True) - z.logsumexp(-1, True)
    log_p = z.log_softmax(dim=-1)
    log_rest = torch.log1p(-log_p.clamp(max=math.log(0.5)).exp())
    log_rest = log_rest.scatter(-1, best, rest_of_best)
    return (log_p - log_rest)[..., :-1]


class Detr(PlainEncoder):
    """DETR. Its softmax head with a "no object" class is handed out as the logits of a sigmoid head.

    ``sigmoid(logits)`` is the probability that the softmax gives, so scores are DETR's own. Its loss is
    computed on the softmax, as published.
    """

    family = "detr"
    class_layers = ("class_labels_classifier",)

    def backbone(self) -> nn.Module:
        return self.network.model.backbone  # type: ignore[no-any-return]

    def loss_terms(self, raw: Any) -> dict[str, Tensor]:
        config = self.network.config
        weights = {
            "loss_ce": 1.0,
            "loss_bbox": float(config.bbox_loss_coefficient),
            "loss_giou": float(config.giou_loss_coefficient),
        }
        return sum_by_prefix(raw.loss_dict, weights)

    def matching_part(self, raw: Any) -> tuple[Tensor, Tensor]:
        return sigmoid_logits(raw.logits), raw.pred_boxes

    def layer_outputs(self, raw: Any) -> list[LayerOutput]:
        layers = super().layer_outputs(raw)
        return [LayerOutput(sigmoid_logits(layer.logits), layer.boxes_cxcywh) for layer in layers]


def _detector(config: Any, class_names: Sequence[str], **kwargs: Any) -> Detr:
    from transformers import DetrForObjectDetection

    network = DetrForObjectDetection(config)
    train_all_but_stem(network.model.backbone)
    levels = backbone_levels(config, network.model.backbone.intermediate_channel_sizes)
    return Detr(network, class_names=class_names, features_spec=levels, **kwargs)


def build(class_names: Sequence[str], *, depth: int) -> Detr:
    """DETR with a ResNet of 50 or 101 layers."""
    from transformers import DetrConfig

    config = DetrConfig(backbone=f"resnet{depth}", num_labels=len(class_names), **TRAINING)
    return _detector(
        config,
        class_names,
        model_name=f"detr-r{depth}",
        image_size=800,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def rebuild(
    architecture: Mapping[str, Any], class_names: Sequence[str], *, model_name: str, image_size: int
) -> Detr:
    """The network that a checkpoint of any size describes."""
    from transformers import DetrConfig

    config = DetrConfig(**{**architecture, **TRAINING}, num_labels=len(class_names))
    return _detector(config, class_names, model_name=model_name, image_size=image_size)


ENTRIES = (
    ModelEntry(
        "detr-r50",
        "DETR",
        partial(build, depth=50),
        800,
        "the first DETR; 42.0 AP on COCO",
        published=Published(
            "facebook/detr-resnet-50", "1d5f47bd3bdd2c4bbfa585418ffe6da5028b4c0b", "Apache-2.0", "coco-91"
        ),
    ),
    ModelEntry(
        "detr-r101",
        "DETR",
        partial(build, depth=101),
        800,
        "43.5 AP on COCO",
        published=Published("facebook/detr-resnet-101", "main", "Apache-2.0", "coco-91"),
    ),
)

FAMILY = Family(Detr.family, ENTRIES, rebuild, model_types=("detr",))
