"""The types in the middle: what models return, what losses and metrics take.

Legend of shapes: B images, Q queries, C classes, N boxes, K channels, H x W a map's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Detections:
    """Final boxes of one image.

    Attributes:
        boxes_xyxy: [N, 4] corners in absolute pixels of the image they were found in.
        scores: [N] confidence in 0..1.
        class_ids: [N] index into the model's class names.

    Raises:
        ValueError: the shapes do not agree, or a score is not finite.
    """

    boxes_xyxy: Tensor
    scores: Tensor
    class_ids: Tensor

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes_xyxy.shape != (n, 4) or self.scores.shape != (n,) or self.class_ids.shape != (n,):
            raise ValueError(
                f"boxes {tuple(self.boxes_xyxy.shape)}, scores {tuple(self.scores.shape)} and class ids "
                f"{tuple(self.class_ids.shape)} do not describe the same N detections"
            )
        if not torch.isfinite(self.scores).all():
            raise ValueError("scores must be finite")

    @classmethod
    def empty(cls) -> Detections:
        return cls(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))

    def above(self, score: float) -> Detections:
        """Those with a confidence of at least ``score``."""
        keep = self.scores >= score
        return Detections(self.boxes_xyxy[keep], self.scores[keep], self.class_ids[keep])

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Targets:
    """Ground truth of one image.

    Attributes:
        boxes_cxcywh: [N, 4] centre and size as fractions of the image, 0..1.
        class_ids: [N] index into the dataset's class names.
        image_id: id of the image in the dataset.
    """

    boxes_cxcywh: Tensor
    class_ids: Tensor
    image_id: int

    def to(self, device: torch.device | str) -> Targets:
        return Targets(self.boxes_cxcywh.to(device), self.class_ids.to(device), self.image_id)


@dataclass(frozen=True)
class FeatureMap:
    """One level of a backbone: ``tensor`` [B, K, H, W], its ``stride`` in input pixels, and a ``name``."""

    tensor: Tensor
    stride: int
    name: str


@dataclass(frozen=True)
class QueryGroup:
    """Extra queries that a decoder is given in training, K an image, beside its own.

    Attributes:
        boxes_cxcywh: [B, K, 4] where each query begins, fractions of the image.
        class_ids: [B, K] class whose denoising embedding a query begins with; C is "unknown".
        valid: [B, K] bool; the rest is padding, which no other query sees.

    Raises:
        ValueError: the shapes do not agree.
    """

    boxes_cxcywh: Tensor
    class_ids: Tensor
    valid: Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.valid.shape)
        if len(shape) != 2 or self.boxes_cxcywh.shape != (*shape, 4) or self.class_ids.shape != shape:
            raise ValueError(
                f"boxes {tuple(self.boxes_cxcywh.shape)}, class ids {tuple(self.class_ids.shape)} and valid "
                f"{shape} do not describe the same B x K queries"
            )

    def __len__(self) -> int:
        """K, the number of queries an image, padding among them."""
        return self.valid.shape[1]


@dataclass(frozen=True)
class LayerOutput:
    """What one decoder layer answers: ``logits`` [B, Q, C] before the sigmoid, ``boxes_cxcywh`` [B, Q, 4]."""

    logits: Tensor
    boxes_cxcywh: Tensor


@dataclass(frozen=True)
class AttentionMap:
    """Self-attention of an encoder layer over a grid of H x W places, row by row.

    Attributes:
        tensor: [B, heads, H*W, H*W]: how much each place (first) attends to each (second); rows sum to 1.
        height, width: of the grid.

    Raises:
        ValueError: the tensor is not over so many places.
    """

    tensor: Tensor
    height: int
    width: int

    def __post_init__(self) -> None:
        places = self.height * self.width
        if self.tensor.ndim != 4 or self.tensor.shape[-2:] != (places, places):
            raise ValueError(
                f"attention {tuple(self.tensor.shape)} is not one over {self.height} x {self.width} places"
            )


@dataclass
class DetectorOutput:
    """What every detector returns.

    Attributes:
        logits: [B, Q, C] before the sigmoid. The denoising queries of training are not among them.
        boxes_cxcywh: [B, Q, 4] fractions of the image, 0..1.
        features: maps of the backbone, fine to coarse; empty unless the model was asked for them.
        losses: named, already weighted terms of the model's own detection loss; empty without targets.
        layers: answers of the decoder layers before the last, first to last, for the same Q queries; empty
            where a family has none.
        injected: answers of every decoder layer, first to last, for the K queries of a ``QueryGroup``; empty
            without one.
        encoder_maps: maps after the encoder, fine to coarse; empty unless the model was asked for them.
        attention: of the encoder's last self-attention; None unless the model was asked for it.
        divisor: [] what the losses were divided by (or by 1 where it is less), where only the predictions
            tell that; None where the targets do.
    """

    logits: Tensor
    boxes_cxcywh: Tensor
    features: list[FeatureMap] = field(default_factory=list)
    losses: dict[str, Tensor] = field(default_factory=dict)
    layers: list[LayerOutput] = field(default_factory=list)
    injected: list[LayerOutput] = field(default_factory=list)
    encoder_maps: list[FeatureMap] = field(default_factory=list)
    attention: AttentionMap | None = None
    divisor: Tensor | None = None


@dataclass(frozen=True)
class FeatureSpec:
    """Channels and stride of a feature map, known before the first forward."""

    name: str
    channels: int
    stride: int


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Sum of named scalars; raises ValueError when there are none."""
    if not terms:
        raise ValueError("no loss terms to sum")
    return torch.stack([t.float() for t in terms.values()]).sum()
