"""The detectors that must all pass the same suite: one line per family, small enough for two CPU cores.

A new family adds its lines to ``CASES``. What cannot be read from a transformers module is overridden there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torchvision.ops import box_convert

from taco_kd.models import (
    conditional_detr,
    d_fine,
    dab_detr,
    deformable_detr,
    detr,
    rtdetr,
    rtdetr_timm,
    rtdetr_ultralytics,
    yolo,
)
from taco_kd.models.detector import Detector
from taco_kd.models.ultralytics_forward import ultralytics_targets
from taco_kd.types import Targets, total

SIDE = 128
Terms = dict[str, Tensor]


def hf_scores(model: Detector, normalised: Tensor) -> tuple[Tensor, Tensor]:
    """Class scores [B, Q, C] and boxes of the bare module, for images that are normalised already."""
    raw = model.network(pixel_values=normalised)
    return raw.logits.sigmoid(), raw.pred_boxes


def softmax_scores(model: Detector, normalised: Tensor) -> tuple[Tensor, Tensor]:
    raw = model.network(pixel_values=normalised)
    return raw.logits.softmax(-1)[..., :-1], raw.pred_boxes


def clamped_scores(model: Detector, normalised: Tensor) -> tuple[Tensor, Tensor]:
    scores, boxes = hf_scores(model, normalised)
    return scores, boxes.clamp(0, 1)


def hf_loss(model: Detector, normalised: Tensor, targets: Sequence[Targets]) -> Tensor:
    """The loss of the bare module."""
    labels = [{"class_labels": t.class_ids, "boxes": t.boxes_cxcywh} for t in targets]
    loss: Tensor = model.network(pixel_values=normalised, labels=labels).loss
    return loss


def yolo_scores(model: Detector, normalised: Tensor) -> tuple[Tensor, Tensor]:
    """Ultralytics' boxes are in pixels and may leave the image."""
    predictions, _ = model.network(normalised)
    boxes = box_convert(predictions[:, :4].transpose(1, 2) / SIDE, "cxcywh", "xyxy").clamp(0, 1)
    return predictions[:, 4:].transpose(1, 2), box_convert(boxes, "xyxy", "cxcywh")


def ultralytics_rtdetr_scores(model: Detector, normalised: Tensor) -> tuple[Tensor, Tensor]:
    _, (boxes, logits, *_) = model.network(normalised)
    return logits[-1].sigmoid(), boxes[-1]


def ultralytics_loss(model: Detector, normalised: Tensor, targets: Sequence[Targets]) -> Tensor:
    """What Ultralytics' trainer calls ``backward`` on; it multiplies YOLO's by the number of images."""
    batch = ultralytics_targets(targets, normalised)
    loss: Tensor = model.network.loss(batch)[0].sum()
    return loss / len(targets) if model.dense else loss


def class_term_halved(terms: Terms) -> Tensor:
    """transformers weighs the class term of Conditional and Deformable DETR with 1, the originals with 2."""
    return total({name: t / 2 if name == "ce" else t for name, t in terms.items()})


def without_localisation(terms: Terms) -> Tensor:
    """In evaluation transformers computes none of D-FINE's localisation terms."""
    return total({name: t for name, t in terms.items() if name not in ("fgl", "ddf")})


@dataclass(frozen=True)
class Case:
    """A small detector, and what its library would say about the same input."""

    name: str
    build: Callable[[Sequence[str]], Detector]
    scores: Callable[[Detector, Tensor], tuple[Tensor, Tensor]] = hf_scores
    loss: Callable[[Detector, Tensor, Sequence[Targets]], Tensor] = hf_loss
    comparable: Callable[[Terms], Tensor] = total
    """what of our loss terms (in evaluation mode) makes up the library's loss"""
    exports: bool = False
    """a student: its ONNX file is checked"""
    layers: int = 0
    """of its decoder; 0 where it has none"""


def _resnet(*stages: int) -> dict[str, object]:
    return {
        "model_type": "rt_detr_resnet",
        "embedding_size": 16,
        "hidden_sizes": [16, 24, 32, 48][: max(stages)],
        "depths": [1] * max(stages),
        "layer_type": "basic",
        "out_features": [f"stage{i}" for i in stages],
    }


DETR = {
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_queries": 12,
    "dropout": 0.0,
    "auxiliary_loss": True,
}
HYBRID = {
    "encoder_in_channels": [24, 32, 48],
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "hidden_expansion": 0.5,
    "d_model": 32,
    "decoder_in_channels": [32, 32, 32],
    "decoder_ffn_dim": 32,
    "decoder_layers": 3,
    "decoder_attention_heads": 2,
    "num_queries": 12,
    "num_denoising": 6,
    "freeze_backbone_batch_norms": False,
}
HGNET = {
    "model_type": "hgnet_v2",
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 16, 24, 32],
    "stage_mid_channels": [8, 8, 8, 8],
    "stage_out_channels": [16, 24, 32, 48],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [1, 1, 1, 1],
    "hidden_sizes": [16, 24, 32, 48],
    "use_learnable_affine_block": True,
    "out_indices": [2, 3, 4],
}
V1 = {**HYBRID, "model_type": "rt_detr", "backbone_config": _resnet(2, 3, 4)}
V2 = {**V1, "model_type": "rt_detr_v2"}


def _tiny(module: object, architecture: dict[str, object]) -> Callable[[Sequence[str]], Detector]:
    rebuild = module.rebuild  # type: ignore[attr-defined]
    return partial(rebuild, architecture, model_name="tiny", image_size=SIDE)


def _timm(backbone: str) -> Callable[[Sequence[str]], Detector]:
    settings = {
        k: v for k, v in HYBRID.items() if k not in ("encoder_in_channels", "freeze_backbone_batch_norms")
    }
    size = rtdetr_timm.Size(settings, SIDE)
    return partial(rtdetr_timm.build, backbone=backbone, size=size, model_name="tiny")


CASES = (
    Case("rtdetr", _tiny(rtdetr, V2), exports=True, layers=3),
    Case("rtdetr-original", _tiny(rtdetr, {**V2, "refinement": "original"}), layers=3),
    Case("rtdetrv1", _tiny(rtdetr, V1), exports=True, layers=3),
    Case("rtdetr-timm", _timm("tf_efficientnet_lite0"), exports=True, layers=3),
    Case(
        "conditional-detr",
        _tiny(conditional_detr, {**DETR, "d_model": 32, "backbone_config": _resnet(1, 2, 3)}),
        comparable=class_term_halved,
        layers=2,
    ),
    Case(
        "detr",
        _tiny(detr, {**DETR, "d_model": 32, "backbone_config": _resnet(1, 2, 3)}),
        scores=softmax_scores,
        layers=2,
    ),
    Case(
        "deformable-detr",
        _tiny(deformable_detr, {**DETR, "d_model": 32, "backbone_config": _resnet(2, 3, 4)}),
        comparable=class_term_halved,
        layers=2,
    ),
    Case(
        "dab-detr",
        _tiny(dab_detr, {**DETR, "hidden_size": 32, "backbone_config": _resnet(1, 2, 3)}),
        layers=2,
    ),
    Case(
        "d-fine",
        _tiny(
            d_fine,
            {
                **HYBRID,
                "decoder_n_points": [3, 6, 3],
                "depth_mult": 0.34,
                "backbone_config": HGNET,
            },
        ),
        scores=clamped_scores,
        comparable=without_localisation,
        layers=3,
        exports=True,
    ),
    *(
        Case(
            f"{base}{'-fused' * fused}",
            _tiny(yolo, {"base": base, "scale": "nano", "fused": fused}),
            scores=yolo_scores,
            loss=ultralytics_loss,
            exports=True,
        )
        for base in ("yolo11", "yolov8")
        for fused in (False, True)
    ),
    Case(
        "rtdetr-hgnetv2",
        _tiny(rtdetr_ultralytics, {"size": "nano"}),
        scores=ultralytics_rtdetr_scores,
        loss=ultralytics_loss,
        layers=3,
    ),
)
