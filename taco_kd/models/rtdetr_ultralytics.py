"""RT-DETR with HGNetv2 backbones through Ultralytics (AGPL-3.0): Zhao et al., arXiv:2304.08069."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from taco_kd.errors import DataError, one_of
from taco_kd.models.entry import Family, ModelEntry
from taco_kd.models.hf import sum_by_prefix
from taco_kd.models.ultralytics_forward import LayeredDetector, ultralytics_targets
from taco_kd.models.ultralytics_quiet import LICENCE, quiet_ultralytics
from taco_kd.types import DetectorOutput, LayerOutput, Targets

BACKBONES = {"nano": (9, (3, 7, 9)), "l": (9, (3, 7, 9)), "x": (13, (4, 10, 13))}
"""By size: index of the last layer of the backbone, and of those whose outputs are C3, C4 and C5."""
CHANNELS = {"nano": (64, 128, 256), "l": (512, 1024, 2048), "x": (512, 1024, 2048)}
NANO_DECODER = (48, 60, 4, 3, 3, 96)
"""Of ``nano``: width, queries, points of a head and level, heads, layers, width of the MLP."""


def build_network(size: str, classes: int) -> Any:
    """``ultralytics.nn.tasks.RTDETRDetectionModel`` of that size with random weights."""
    if size not in BACKBONES:
        raise DataError(one_of("size of RT-DETR HGNetv2", size, BACKBONES))
    with quiet_ultralytics():
        from ultralytics.nn.tasks import RTDETRDetectionModel
        from ultralytics.utils import ROOT, YAML

    full = "l" if size == "nano" else size
    layers = YAML.load(ROOT / "cfg" / "models" / "rt-detr" / f"rtdetr-{full}.yaml")
    if size == "nano":
        layers = {k: _shrunk(v) if k in ("backbone", "head") else v for k, v in layers.items()}
    network = RTDETRDetectionModel({**layers, "scale": full}, nc=classes, verbose=False)
    network.nc = classes  # its criterion asks the network for it
    return network


def _shrunk(layers: list[list[Any]]) -> list[list[Any]]:
    """Layers (from, repeats, module, arguments) an eighth as wide and a third as deep; our own decoder."""
    numbers = {"HGStem": 2, "HGBlock": 2, "DWConv": 1, "Conv": 1, "RepC3": 1, "AIFI": 1}
    smaller = []
    for source, repeats, module, arguments in layers:
        wide = numbers.get(module, 0)
        narrow = [n // 8 for n in arguments[:wide]] + arguments[wide:]
        if module == "RTDETRDecoder":
            narrow = [*arguments, *NANO_DECODER]
        elif module == "AIFI":
            narrow = [*narrow[:1], 4]  # 32 channels cannot be shared among as many heads as 256
        smaller.append([source, max(1, repeats // 3), module, narrow])
    return smaller


class RTDetrHGNet(LayeredDetector):
    """RT-DETR with an HGNetv2 backbone; its weights take RGB in 0..1 without mean and std.

    Features are the outputs of the last three stages of the backbone.

    Args:
        size: ``l``, ``x``, or our own ``nano``.
        class_names: one per logit, in order.
    """

    family = "rtdetr-hgnetv2"
    class_layers = ("denoising_class_embed", "enc_score_head", "dec_score_head")

    def __init__(self, size: str, class_names: Sequence[str], *, model_name: str, image_size: int) -> None:
        super().__init__(
            build_network(size, len(class_names)),
            backbone=BACKBONES[size],
            channels=CHANNELS[size],
            class_names=class_names,
            model_name=model_name,
            image_size=image_size,
        )
        self.size = size

    def forward(
        self,
        images: Tensor,
        targets: Sequence[Targets] | None = None,
        *,
        with_features: bool = False,
        with_encoder: bool = False,
        with_attention: bool = False,
    ) -> DetectorOutput:
        """One pass over ``images`` [B, 3, H, W]; with ``targets`` also the detection loss.

        The terms ``class`` (varifocal), ``bbox`` (L1) and ``giou`` are Ultralytics', with its weights, each
        summed over the query selection, the decoder layers and, in training, the denoising queries.
        """
        batch: dict[str, Any] | None = None
        if targets is not None:
            groups = [len(t.class_ids) for t in targets]
            batch = {**ultralytics_targets(targets, images), "gt_groups": groups}
        with self.captured(with_features) as features:
            raw = self.network.predict(self.normalised(images), batch=batch)
        boxes, logits, first_boxes, first_logits, denoising = raw if self.training else raw[1]
        noisy_boxes = noisy_logits = None
        if denoising is not None:  # the denoising queries stand before the matching ones
            noisy_boxes, boxes = boxes.split(denoising["dn_num_split"], dim=2)
            noisy_logits, logits = logits.split(denoising["dn_num_split"], dim=2)
        losses = {}
        if batch is not None:
            all_boxes, all_logits = _with_first(first_boxes, boxes), _with_first(first_logits, logits)
            terms = self.network.init_criterion()(
                (all_boxes, all_logits),
                batch,
                dn_bboxes=noisy_boxes,
                dn_scores=noisy_logits,
                dn_meta=denoising,
            )
            losses = sum_by_prefix(terms, {"loss_class": 1.0, "loss_bbox": 1.0, "loss_giou": 1.0})
        layers = [LayerOutput(*layer) for layer in zip(logits[:-1], boxes[:-1], strict=True)]
        return DetectorOutput(logits[-1], boxes[-1], features, losses, layers)

    def architecture(self) -> Mapping[str, Any]:
        return {"size": self.size}


def _with_first(selected: Tensor, layers: Tensor) -> Tensor:
    """[B, Q, K] of the query selection before [L, B, Q, K] of the decoder layers."""
    return torch.cat([selected[None], layers])


def _build(class_names: Sequence[str], *, size: str, image_size: int) -> RTDetrHGNet:
    return RTDetrHGNet(size, class_names, model_name=f"rtdetr-hgnetv2-{size}", image_size=image_size)


def rebuild(
    architecture: Mapping[str, Any], class_names: Sequence[str], *, model_name: str, image_size: int
) -> RTDetrHGNet:
    """The network that a checkpoint describes."""
    size = str(architecture.get("size"))
    return RTDetrHGNet(size, class_names, model_name=model_name, image_size=image_size)


ENTRIES = tuple(
    ModelEntry(
        f"rtdetr-hgnetv2-{size}",
        "RT-DETR",
        partial(_build, size=size, image_size=image_size),
        image_size,
        note,
        licence=LICENCE,
    )
    for size, image_size, note in (
        ("nano", 192, "an eighth as wide as L: trains on two CPU cores"),
        ("l", 640, "HGNetv2 backbone, through Ultralytics"),
        ("x", 640, "HGNetv2 backbone, through Ultralytics"),
    )
)

FAMILY = Family(RTDetrHGNet.family, ENTRIES, rebuild)
