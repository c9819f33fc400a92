"""A detector as an ONNX file: images in 0..1 in, logits and boxes out, any batch size."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from taco_kd.files import replacing
from taco_kd.models.detector import Detector

OPSET = 17


class _Outputs(nn.Module):
    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        output = self.model(images)
        return output.logits, output.boxes_cxcywh


def export_onnx(model: Detector, path: Path, image_size: int | None = None) -> None:
    """Write ``model`` to ``path``, atomically. Normalisation is part of the graph; decoding is not.

    Input ``images`` [B, 3, S, S], RGB in 0..1; outputs ``logits`` [B, Q, C], before the sigmoid, and
    ``boxes_cxcywh`` [B, Q, 4] in 0..1. B is free, S is ``image_size`` (the model's own by default).
    Queries with nearly equal scores can come in another order than in torch.
    """
    side = image_size or model.image_size
    device = next(model.parameters()).device
    training = model.training
    names = {"images": {0: "batch"}, "logits": {0: "batch"}, "boxes_cxcywh": {0: "batch"}}
    with replacing(path) as aside, warnings.catch_warnings(), torch.no_grad():
        # the exporter that traces: the newer one fixes the batch size (torch 2.14) and warns of the older
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Outputs(model).eval(),
            (torch.rand(2, 3, side, side, device=device),),
            str(aside),
            input_names=["images"],
            output_names=["logits", "boxes_cxcywh"],
            dynamic_axes=names,
            opset_version=OPSET,
            dynamo=False,
        )
    model.train(training)
