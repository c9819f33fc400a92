"""A transformers detector behind our ``Detector`` protocol: one forward, everything needed from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from taco_kd.types import DetectorOutput, FeatureMap, FeatureSpec, Targets

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IDENTITY_MEAN = (0.0, 0.0, 0.0)
IDENTITY_STD = (1.0, 1.0, 1.0)


class HFDetector(nn.Module):
    """Wraps a transformers object detector.

    A subclass says where the backbone is, how the loss terms are weighted, and how training outputs are
    laid out. ``forward`` takes images [B, 3, H, W] in 0..1 RGB and normalises them itself, so a teacher and
    a student with different conventions can be fed the same batch.

    Args:
        network: the transformers module.
        model_name: its name in the zoo; travels with the checkpoint.
        class_names: one per logit, in order.
        image_size: side in pixels of the square input it is trained and evaluated on.
        mean, std: normalisation of its input.
        features_spec: the backbone maps it hands out, fine to coarse.
    """

    def __init__(
        self,
        network: Any,
        *,
        model_name: str,
        class_names: Sequence[str],
        image_size: int,
        features_spec: Sequence[FeatureSpec],
        mean: Sequence[float] = IDENTITY_MEAN,
        std: Sequence[float] = IDENTITY_STD,
    ) -> None:
        super().__init__()
        self.network: Any = network
        self.model_name = model_name
        self.class_names = tuple(class_names)
        self.image_size = image_size
        self.features_spec = tuple(features_spec)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def backbone(self) -> nn.Module:
        """The module whose output is a list of (map, mask) pairs, fine to coarse."""
        raise NotImplementedError

    def loss_terms(self, raw: Any) -> dict[str, Tensor]:
        """Weighted terms of the model's own loss, summed over decoder layers, by name."""
        raise NotImplementedError

    def matching_part(self, raw: Any) -> tuple[Tensor, Tensor]:
        """Logits and boxes of the queries that are used at inference."""
        return raw.logits, raw.pred_boxes

    def forward(
        self, images: Tensor, targets: Sequence[Targets] | None = None, *, with_features: bool = False
    ) -> DetectorOutput:
        """One pass over ``images`` [B, 3, H, W]; with ``targets`` also the detection loss."""
        labels = None
        if targets is not None:
            labels = [{"class_labels": t.class_ids, "boxes": t.boxes_cxcywh} for t in targets]
        with self._captured(with_features) as maps:
            raw = self.network(pixel_values=(images - self.mean) / self.std, labels=labels)
        logits, boxes = self.matching_part(raw)
        losses = self.loss_terms(raw) if targets is not None else {}
        features = [
            FeatureMap(tensor, spec.stride, spec.name)
            for tensor, spec in zip(maps, self.features_spec, strict=False)
        ]
        return DetectorOutput(logits, boxes, features, losses)

    @contextmanager
    def _captured(self, wanted: bool) -> Iterator[list[Tensor]]:
        """The backbone's maps, taken on their way: no second forward."""
        maps: list[Tensor] = []
        if not wanted:
            yield maps
            return

        def keep(_module: nn.Module, _inputs: Any, pairs: Any) -> None:
            maps.extend(pair[0] for pair in pairs)

        handle = self.backbone().register_forward_hook(keep)
        try:
            yield maps
        finally:
            handle.remove()

    def metadata(self) -> Mapping[str, str]:
        """What a checkpoint must say so that the model can be rebuilt from it."""
        return {
            "format": "taco-kd/1",
            "model": self.model_name,
            "class_names": json.dumps(self.class_names),
            "image_size": str(self.image_size),
            "mean": json.dumps([round(v, 6) for v in self.mean.flatten().tolist()]),
            "std": json.dumps([round(v, 6) for v in self.std.flatten().tolist()]),
        }


def sum_by_prefix(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Sum terms such as ``loss_bbox``, ``loss_bbox_aux_0``, ``loss_bbox_dn_1`` under ``bbox``.

    Terms whose prefix has no weight (counters such as ``cardinality_error``) are left out.
    """
    summed: dict[str, Tensor] = {}
    for prefix, weight in weights.items():
        parts = [t for name, t in terms.items() if name == prefix or name.startswith(f"{prefix}_")]
        if parts:
            summed[prefix.removeprefix("loss_")] = weight * torch.stack(parts).sum()
    return summed
