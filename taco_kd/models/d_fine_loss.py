"""The loss of D-FINE (arXiv:2410.13842) with every decoder layer paired with itself.

In training, transformers 5.23 puts the boxes before the first refinement in front of the list of layers, but
not in front of the list of their distributions. It then pairs layer i's distribution with layer i-1's boxes,
gives the last layer but one no class and box loss, and the last layer no localisation loss. Here its own
criterion is given the layers as the original pairs them. Not rebuilt: the original matches boxes to the union
of all layers' matches; transformers, and so this, matches each layer on its own.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

Layer = dict[str, Tensor]


def d_fine_loss(config: Any, raw: Any, labels: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Weighted terms by name, such as ``loss_fgl_aux_1``.

    Args:
        config: of the network, for the weights.
        raw: output of ``DFineForObjectDetection`` with ``labels``.
        labels: per image ``class_labels`` [N] and ``boxes`` [N, 4], cxcywh in 0..1.
    """
    from transformers.loss.loss_d_fine import DFineLoss

    meta = raw.denoising_meta_values
    part = slice(None) if meta is None else slice(meta["dn_num_split"][0], None)
    first, layers = _layers(raw, part)
    proposals = {"logits": raw.enc_topk_logits, "pred_boxes": raw.enc_topk_bboxes.clamp(0, 1)}
    outputs: dict[str, Any] = {**layers[-1], "auxiliary_outputs": [*layers[:-1], *first, proposals]}
    if meta is not None:
        first, layers = _layers(raw, slice(meta["dn_num_split"][0]))
        outputs |= {"dn_auxiliary_outputs": [*layers, *first], "denoising_meta_values": meta}
    criterion = DFineLoss(config).to(raw.logits.device)
    terms: dict[str, Tensor] = criterion(outputs, labels)
    return terms


def _layers(raw: Any, part: slice) -> tuple[list[Layer], list[Layer]]:
    """The boxes before the first refinement (in training) and the outputs of each layer, of some queries."""
    logits = raw.intermediate_logits[:, :, part].unbind(1)
    boxes = raw.intermediate_reference_points[:, :, part].clamp(0, 1).unbind(1)
    corners = raw.intermediate_predicted_corners[:, :, part].unbind(1)
    references = raw.initial_reference_points[:, :, part].unbind(1)
    before = len(logits) - len(corners)
    first = [{"logits": z, "pred_boxes": b} for z, b in zip(logits[:before], boxes[:before], strict=True)]
    layers = [
        {
            "logits": z,
            "pred_boxes": b,
            "pred_corners": c,
            "ref_points": r,
            "teacher_corners": corners[-1],
            "teacher_logits": logits[-1].detach(),
        }
        for z, b, c, r in zip(logits[before:], boxes[before:], corners, references, strict=True)
    ]
    return first, layers
