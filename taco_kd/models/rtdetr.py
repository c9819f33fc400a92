"""RT-DETR students through transformers: Zhao et al., arXiv:2304.08069; v2: Lv et al., arXiv:2407.17140."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from torch import Tensor, nn

from taco_kd.errors import UsageError
from taco_kd.models.entry import Family, ModelEntry, Published
from taco_kd.models.hf import backbone_levels, sum_by_prefix
from taco_kd.models.hf_encoders import HybridEncoder
from taco_kd.models.injection import injected
from taco_kd.models.refinement import Refinement, original_refinement
from taco_kd.types import LayerOutput, QueryGroup

NANO_HIDDEN_SIZES = (32, 64, 96, 128)
"""Channels of the four stages of the nano backbone; the nano Conditional DETR shares the first three."""

_BASIC = {
    "encoder_in_channels": [128, 256, 512],
    "hidden_expansion": 0.5,
}
SIZES: dict[int, dict[str, Any]] = {
    18: {**_BASIC, "decoder_layers": 3},
    34: {**_BASIC, "decoder_layers": 4},
    50: {},
    101: {"encoder_ffn_dim": 2048, "encoder_hidden_dim": 384, "decoder_in_channels": [384, 384, 384]},
}
"""What the published configuration of each ResNet depth sets beside the defaults, which are those of R50."""

NANO: dict[str, Any] = {
    "encoder_hidden_dim": 96,
    "encoder_ffn_dim": 192,
    "encoder_attention_heads": 4,
    "hidden_expansion": 0.5,
    "d_model": 96,
    "decoder_in_channels": [96, 96, 96],
    "decoder_ffn_dim": 192,
    "decoder_layers": 3,
    "decoder_attention_heads": 3,  # 32 channels a head: deformable attention wants a power of two
    "num_queries": 60,
    "num_denoising": 30,
}
"""Encoder and decoder of the nano models, for 192 px."""

DEPTHS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3]}

PUBLISHED = {
    ("v2", 18): ("PekingU/rtdetr_v2_r18vd", "5650961749fa93567c0d46fc7f43ea4f9e914107", 48.1),
    ("v2", 34): ("PekingU/rtdetr_v2_r34vd", "5d60d8fb5eb2a3ee5575bf200ecbce4e2cfa420c", 49.9),
    ("v2", 50): ("PekingU/rtdetr_v2_r50vd", "282494075698cab9faa1096ae26856890030c817", 53.4),
    ("v2", 101): ("PekingU/rtdetr_v2_r101vd", "main", 54.3),
    ("v1", 18): ("PekingU/rtdetr_r18vd", "ac77a11ff0170a41b771c03264987f8ce2b0d753", 46.5),
    ("v1", 34): ("PekingU/rtdetr_r34vd", "main", 48.9),
    ("v1", 50): ("PekingU/rtdetr_r50vd", "df939e661d8c52e80608d1ec566561aabd25a4e7", 53.1),
    ("v1", 101): ("PekingU/rtdetr_r101vd", "main", 54.3),
}
"""Repository on the hub, revision, AP on COCO. "main": the commit is not known to us, so it is not pinned."""


class RTDetr(HybridEncoder):
    """RT-DETR and RT-DETRv2. Their published weights take RGB in 0..1 without mean and std."""

    family = "rtdetr"
    class_layers = ("class_embed", "enc_score_head")
    refinement: Refinement = "detached"
    """graph of the boxes in training; see ``taco_kd.models.refinement``"""

    def training_graph(self) -> AbstractContextManager[None]:
        if self.training and self.refinement == "original":
            return original_refinement(self.network.model.decoder)
        return nullcontext()

    @property
    def takes_queries(self) -> bool:
        """Injected queries begin with a denoising embedding, which a model without denoising lacks."""
        return self.network.config.num_denoising > 0  # type: ignore[no-any-return]

    def injection(self, queries: QueryGroup | None) -> AbstractContextManager[list[LayerOutput]]:
        if queries is None:
            return nullcontext([])
        if not self.takes_queries:
            raise UsageError(
                f"{self.model_name} has no denoising (num_denoising = 0), so it has no class embedding with "
                "which an injected query could begin; use another distill.pairing"
            )
        if not self.training:
            raise ValueError("queries are injected in training only")
        return injected(self.network.model.decoder, self.network.model.denoising_class_embed, queries)

    def architecture(self) -> Mapping[str, Any]:
        return {**super().architecture(), "refinement": self.refinement}

    def backbone(self) -> nn.Module:
        return self.network.model.backbone  # type: ignore[no-any-return]

    def loss_terms(self, raw: Any) -> dict[str, Tensor]:
        # transformers has multiplied these by their weights already
        return sum_by_prefix(raw.loss_dict, {"loss_vfl": 1.0, "loss_bbox": 1.0, "loss_giou": 1.0})

    def matching_part(self, raw: Any) -> tuple[Tensor, Tensor]:
        first = self._denoising(raw)
        if first == 0:
            return raw.logits, raw.pred_boxes
        return raw.logits[:, first:], raw.pred_boxes[:, first:]

    def layer_outputs(self, raw: Any) -> list[LayerOutput]:
        first = self._denoising(raw)
        logits = raw.intermediate_logits[:, :-1, first:].unbind(1)
        boxes = raw.intermediate_reference_points[:, :-1, first:].unbind(1)
        return [LayerOutput(*layer) for layer in zip(logits, boxes, strict=True)]

    def _denoising(self, raw: Any) -> int:
        """How many denoising queries stand before the matching ones, as they do in training."""
        meta = raw.denoising_meta_values
        return meta["dn_num_split"][0] if self.training and meta is not None else 0


def nano_backbone_config(out_features: Sequence[str]) -> Any:
    """A ResNet-vd of one basic block a stage, 3x3 deep stem, as RT-DETR's own R18 is built.

    It ends with the last stage whose map is wanted.
    """
    from transformers import RTDetrResNetConfig

    stages = max(int(name.removeprefix("stage")) for name in out_features)
    return RTDetrResNetConfig(
        embedding_size=32,
        hidden_sizes=list(NANO_HIDDEN_SIZES[:stages]),
        depths=[1] * stages,
        layer_type="basic",
        out_features=list(out_features),
    )


def _detector(config: Any, class_names: Sequence[str], **kwargs: Any) -> RTDetr:
    from transformers import RTDetrForObjectDetection, RTDetrV2ForObjectDetection

    kind = RTDetrForObjectDetection if config.model_type == "rt_detr" else RTDetrV2ForObjectDetection
    levels = backbone_levels(config, config.encoder_in_channels)
    return RTDetr(kind(config), class_names=class_names, features_spec=levels, **kwargs)


def build_nano(class_names: Sequence[str]) -> RTDetr:
    """RT-DETRv2 small enough to train on two CPU cores (about 2 M parameters, 192 px)."""
    from transformers import RTDetrV2Config

    config = RTDetrV2Config(
        backbone_config=nano_backbone_config(["stage2", "stage3", "stage4"]),
        freeze_backbone_batch_norms=False,  # trained from random weights, so the statistics must move
        encoder_in_channels=list(NANO_HIDDEN_SIZES[1:]),
        num_labels=len(class_names),
        **NANO,
    )
    return _detector(config, class_names, model_name="rtdetr-nano", image_size=192)


def build_full(class_names: Sequence[str], *, version: str, depth: int) -> RTDetr:
    """A published size; v2 with R50-vd is the paper's "RT-DETR-L": 42,850,272 parameters with 60 classes."""
    from transformers import RTDetrConfig, RTDetrResNetConfig, RTDetrV2Config

    basic = depth < 50
    backbone = RTDetrResNetConfig(
        depths=DEPTHS[depth],
        layer_type="basic" if basic else "bottleneck",
        hidden_sizes=[64, 128, 256, 512] if basic else [256, 512, 1024, 2048],
        out_features=["stage2", "stage3", "stage4"],
    )
    kind = RTDetrConfig if version == "v1" else RTDetrV2Config
    config = kind(backbone_config=backbone, num_labels=len(class_names), **SIZES[depth])
    return _detector(config, class_names, model_name=_name(version, depth), image_size=640)


def rebuild(
    architecture: Mapping[str, Any], class_names: Sequence[str], *, model_name: str, image_size: int
) -> RTDetr:
    """The network that a checkpoint of any size describes."""
    from transformers import RTDetrConfig, RTDetrV2Config

    settings = dict(architecture)
    refinement = settings.pop("refinement", "detached")
    kind = RTDetrConfig if settings.get("model_type") == "rt_detr" else RTDetrV2Config
    config = kind(**settings, num_labels=len(class_names))
    model = _detector(config, class_names, model_name=model_name, image_size=image_size)
    model.refinement = refinement
    return model


def _name(version: str, depth: int) -> str:
    return f"rtdetr-r{depth}" if version == "v2" else f"rtdetrv1-r{depth}"


def _entry(version: str, depth: int) -> ModelEntry:
    repo, revision, ap = PUBLISHED[version, depth]
    paper = "the paper's RT-DETR-L; " if (version, depth) == ("v2", 50) else ""
    return ModelEntry(
        _name(version, depth),
        "RT-DETRv2" if version == "v2" else "RT-DETR",
        partial(build_full, version=version, depth=depth),
        640,
        f"{paper}R{depth}-vd; {ap} AP on COCO",
        published=Published(repo, revision, "Apache-2.0", "coco-80"),
    )


ENTRIES = (
    ModelEntry(
        "rtdetr-nano",
        "RT-DETRv2",
        build_nano,
        192,
        "student of the demo; packaged weights: 950 steps on synthetic scenes",
        packaged="rtdetr_nano_initial.safetensors",
    ),
    *(_entry(version, depth) for version, depth in PUBLISHED),
)

FAMILY = Family(RTDetr.family, ENTRIES, rebuild, model_types=("rt_detr", "rt_detr_v2"))
