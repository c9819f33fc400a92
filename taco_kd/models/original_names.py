"""The names that the original authors' programs give to weights, turned into those of transformers' files.

RT-DETR and RT-DETRv2 (lyuwenyu/RT-DETR, PyTorch), DETR (facebookresearch/detr) and Conditional DETR
(Atten4Vis/ConditionalDETR). The networks are the same: only names differ, and ``nn.MultiheadAttention`` keeps
q, k and v in one matrix, in that order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

Rules = tuple[tuple[str, str], ...]
"""Regular expressions and what replaces them; all that match are applied, in order."""

_STAGE = r"model.backbone.model.encoder.stages.\1.layers.\2."
_IN_PROJ = re.compile(r"\.in_proj_(weight|bias)$")

_RTDETR: Rules = (
    # the ResNet-vd: a stem of three, then blocks of 2a, 2b, 2c and a shortcut that pools from stage 1 on
    (r"^(?:backbone\.)?conv1\.conv1_1\.", "model.backbone.model.embedder.embedder.0."),
    (r"^(?:backbone\.)?conv1\.conv1_2\.", "model.backbone.model.embedder.embedder.1."),
    (r"^(?:backbone\.)?conv1\.conv1_3\.", "model.backbone.model.embedder.embedder.2."),
    (r"^(?:backbone\.)?res_layers\.(\d+)\.blocks\.(\d+)\.", _STAGE),
    (r"\.short\.conv\.(?=conv\.|norm\.)", ".shortcut.1."),
    (r"\.short\.", ".shortcut."),
    (r"\.branch2a\.", ".layer.0."),
    (r"\.branch2b\.", ".layer.1."),
    (r"\.branch2c\.", ".layer.2."),
    (r"^(model\.backbone\..*)\.conv\.", r"\1.convolution."),
    (r"^(model\.backbone\..*)\.norm\.", r"\1.normalization."),
    # the hybrid encoder; version 1 numbers the two layers of a projection, version 2 names them
    (r"^(encoder|decoder)\.input_proj\.(\d+)\.(?:conv|0)\.", r"model.\1_input_proj.\2.0."),
    (r"^(encoder|decoder)\.input_proj\.(\d+)\.(?:norm|1)\.", r"model.\1_input_proj.\2.1."),
    (r"^(encoder\.encoder\.\d+\.layers\.\d+)\.norm2\.", r"\1.final_layer_norm."),
    (r"^encoder\.", "model.encoder."),
    # the decoder and its heads
    (r"^decoder\.decoder\.layers\.", "model.decoder.layers."),
    (r"\.cross_attn\.num_points_scale$", ".encoder_attn.n_points_scale"),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"^(model\.decoder\.layers\.\d+)\.norm2\.", r"\1.encoder_attn_layer_norm."),
    (r"^(model\.decoder\.layers\.\d+)\.norm3\.", r"\1.final_layer_norm."),
    (r"\.linear1\.", ".fc1."),
    (r"\.linear2\.", ".fc2."),
    (r"^decoder\.dec_score_head\.", "model.decoder.class_embed."),
    (r"^decoder\.dec_bbox_head\.", "model.decoder.bbox_embed."),
    (r"^decoder\.query_pos_head\.", "model.decoder.query_pos_head."),
    (r"^decoder\.tgt_embed\.", "model.weight_embedding."),
    (r"^decoder\.enc_output\.(?:proj|0)\.", "model.enc_output.0."),
    (r"^decoder\.enc_output\.(?:norm|1)\.", "model.enc_output.1."),
    (r"^decoder\.(denoising_class_embed|enc_score_head|enc_bbox_head)\.", r"model.\1."),
)

_DETR: Rules = (
    (r"^backbone\.0\.body\.", "model.backbone.conv_encoder.model."),
    (r"^input_proj\.", "model.input_projection."),
    (r"^query_embed\.", "model.query_position_embeddings."),
    (r"^class_embed\.", "class_labels_classifier."),
    (r"^bbox_embed\.", "bbox_predictor."),
    (r"^transformer\.(encoder|decoder)\.norm\.", r"model.\1.layernorm."),
    (r"^transformer\.", "model."),
    (r"\.(?:multihead_attn|cross_attn)\.", ".encoder_attn."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"^(model\.encoder\..*)\.norm2\.", r"\1.final_layer_norm."),
    (r"\.norm2\.", ".encoder_attn_layer_norm."),
    (r"\.norm3\.", ".final_layer_norm."),
    (r"\.linear1\.", ".fc1."),
    (r"\.linear2\.", ".fc2."),
)


@dataclass(frozen=True)
class Original:
    """The names of one program: ``marks`` are beginnings that only its files have."""

    words: str
    marks: tuple[str, ...]
    rules: Rules
    derived: tuple[str, ...] = ()
    """buffers that are computed from the image size, and in no file of anybody else"""


ORIGINALS = (
    Original(
        "the RT-DETR authors' names",
        ("backbone.res_layers.", "res_layers.", "decoder.dec_score_head."),
        _RTDETR,
        derived=("decoder.anchors", "decoder.valid_mask"),
    ),
    Original("the DETR authors' names", ("backbone.0.body.", "transformer.decoder.layers."), _DETR),
)


def recognise(state: Mapping[str, Tensor]) -> Original | None:
    """Whose names these are; None where they are nobody's we know."""
    for original in ORIGINALS:
        if any(key.startswith(original.marks) for key in state):
            return original
    return None


def convert(state: Mapping[str, Tensor], original: Original) -> dict[str, Tensor]:
    """The tensors under the names that transformers writes to files; unknown names stay as they are."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if key in original.derived:
            continue
        new = key
        for pattern, replacement in original.rules:
            new = re.sub(pattern, replacement, new)
        packed = _IN_PROJ.search(new)
        if packed is None:
            renamed[new] = value
            continue
        for part, rows in zip("qkv", value.chunk(3), strict=True):
            renamed[f"{new[: packed.start()]}.{part}_proj.{packed[1]}"] = rows
    return renamed
