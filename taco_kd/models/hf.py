"""A transformers detector behind our ``Detector`` protocol: one forward, everything needed from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from taco_kd.errors import UsageError
from taco_kd.models.detector import Detector
from taco_kd.models.hf_attention import captured_attention
from taco_kd.types import (
    AttentionMap,
    DetectorOutput,
    FeatureMap,
    FeatureSpec,
    LayerOutput,
    QueryGroup,
    Targets,
)


class HFDetector(Detector):
    """Wraps a transformers object detector.

    A subclass says where the backbone is, how the loss terms are weighted, and how training outputs are
    laid out.
    """

    def backbone(self) -> nn.Module:
        """The module whose output is a list of (map, mask) pairs, fine to coarse."""
        raise NotImplementedError

    def loss_terms(self, raw: Any) -> dict[str, Tensor]:
        """Weighted terms of the model's own loss, summed over decoder layers, by name."""
        raise NotImplementedError

    def losses(self, raw: Any, labels: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The terms of the detection loss; overridden where transformers' own are not those of the paper."""
        del labels
        return self.loss_terms(raw)

    def matching_part(self, raw: Any) -> tuple[Tensor, Tensor]:
        """Logits and boxes of the queries that are used at inference."""
        return raw.logits, raw.pred_boxes

    def compiled_parts(self) -> list[nn.Module]:
        """The convolutions of the backbone: the decoder's matching and denoising branch on the data."""
        inner = getattr(self.backbone(), "model", None)
        return [inner] if isinstance(inner, nn.Module) else []

    def layer_outputs(self, raw: Any) -> list[LayerOutput]:
        """Answers of the decoder layers before the last, for the queries that are used at inference.

        The DETRs of transformers compute them for the loss, so only where there are targets.
        """
        return [LayerOutput(layer["logits"], layer["pred_boxes"]) for layer in raw.auxiliary_outputs or []]

    def training_graph(self) -> AbstractContextManager[None]:
        """Surrounds each forward: a family whose original trains another graph changes the graph here."""
        return nullcontext()

    def injection(self, queries: QueryGroup | None) -> AbstractContextManager[list[LayerOutput]]:
        """Surrounds each forward, inside ``training_graph``; yields the answers to ``queries``, by layer.

        Raises:
            UsageError: there are queries, and this model takes none.
        """
        if queries is not None:
            raise UsageError(f"{self.model_name} takes no injected queries; use another distill.pairing")
        return nullcontext([])

    def encoder_maps(self, raw: Any, grids: Sequence[tuple[int, int]]) -> list[Tensor]:
        """The encoder's maps [B, K, H, W], as ``encoder_spec`` says; ``grids`` are H, W of the backbone's."""
        del raw, grids
        return []

    def attention_layer(self) -> tuple[nn.Module, int] | None:
        """The encoder's last self-attention, and which backbone map gives its grid; None without any."""
        return None

    def forward(
        self,
        images: Tensor,
        targets: Sequence[Targets] | None = None,
        *,
        with_features: bool = False,
        with_encoder: bool = False,
        with_attention: bool = False,
        queries: QueryGroup | None = None,
    ) -> DetectorOutput:
        """One pass over ``images`` [B, 3, H, W]; with ``targets`` also the detection loss.

        With ``queries``, in training, the decoder answers these too (``DetectorOutput.injected``); everything
        else comes out as without them.
        """
        labels = None
        if targets is not None:
            labels = [{"class_labels": t.class_ids, "boxes": t.boxes_cxcywh} for t in targets]
        attending = self.attention_layer() if with_attention else None
        with (
            self._captured(with_features or with_encoder or with_attention) as maps,
            captured_attention(None if attending is None else attending[0]) as weights,
            self.training_graph(),
            self.injection(queries) as answers,
        ):
            raw = self.network(pixel_values=self.normalised(images), labels=labels)
        logits, boxes = self.matching_part(raw)
        output = DetectorOutput(logits, boxes, layers=self.layer_outputs(raw), injected=answers)
        if labels is not None:
            output.losses = self.losses(raw, labels)
        if with_features:
            output.features = _named(maps, self.features_spec)
        grids = [(int(m.shape[-2]), int(m.shape[-1])) for m in maps]
        if with_encoder:
            output.encoder_maps = _named(self.encoder_maps(raw, grids), self.encoder_spec)
        if attending is not None:
            output.attention = AttentionMap(weights[0], *grids[attending[1]])
        return output

    def backbone_output(self, images: Tensor) -> DetectorOutput:
        pixels = self.normalised(images)
        mask = torch.ones(pixels.shape[0], *pixels.shape[-2:], dtype=torch.long, device=pixels.device)
        with self._captured(True) as maps:
            self.backbone()(pixels, mask)
        queries = images.new_zeros(len(images), 0, len(self.class_names))
        return DetectorOutput(queries, images.new_zeros(len(images), 0, 4), _named(maps, self.features_spec))

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

    def architecture(self) -> Mapping[str, Any]:
        """The configuration of transformers; class names travel on their own."""
        config = self.network.config.to_diff_dict()
        return {k: v for k, v in config.items() if k not in ("id2label", "label2id", "transformers_version")}


def normalise_by_own_boxes() -> None:
    """Have the losses of transformers divide by the boxes of the batch in hand, in several processes too.

    Some of its DETRs ask the other processes for their boxes in the middle of the forward pass, others do
    not; the training step counts boxes itself, once, and for all of them.
    """
    from transformers.loss import loss_for_object_detection

    loss_for_object_detection.is_accelerate_available = lambda: False


def _named(maps: Sequence[Tensor], specs: Sequence[FeatureSpec]) -> list[FeatureMap]:
    return [FeatureMap(m, spec.stride, spec.name) for m, spec in zip(maps, specs, strict=False)]


def backbone_levels(config: Any, channels: Sequence[int]) -> list[FeatureSpec]:
    """What the backbone of a transformers detector hands out: C2 is the map of stride 4, C5 that of 32."""
    levels = [index + 1 for index in config.backbone_config.out_indices]
    return [FeatureSpec(f"C{level}", width, 2**level) for level, width in zip(levels, channels, strict=True)]


def start_from_prior(*classifiers: Any, probability: float = 0.01) -> None:
    """Bias of sigmoid classifiers for a rare positive, as the originals do and transformers does not.

    Focal loss, Lin et al., arXiv:1708.02002, section 4.1; matters only when training from random weights.
    """
    for classifier in classifiers:
        nn.init.constant_(classifier.bias, -math.log((1 - probability) / probability))


def train_all_but_stem(backbone: nn.Module) -> None:
    """Leave the stem and the first stage of a ResNet as they are loaded, as the original DETRs do.

    transformers means to do the same, but in its own ResNets it looks for names ("stage.1") that do not occur
    there and freezes everything, and it freezes nothing in DAB-DETR. Here a timm ResNet keeps stem and first
    stage; any other backbone is one of the nano ones, which nobody has pretrained, and is trained whole.
    """
    backbone.requires_grad_(True)
    names = [name for name, _ in backbone.named_parameters()]
    if not any("layer4." in name for name in names):
        return
    for name, parameter in backbone.named_parameters():
        if not any(f"layer{stage}." in name for stage in (2, 3, 4)):
            parameter.requires_grad_(False)


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
