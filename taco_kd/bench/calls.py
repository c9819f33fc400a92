"""What is timed: for each scope, a call that runs a model once on the next of several images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from taco_kd.bench.latency import Call
from taco_kd.models.detector import Detector
from taco_kd.types import Detections, DetectorOutput


def model_call(model: Detector, images: Tensor, device: torch.device) -> Call:
    """Scope ``model``: tensors that are on the device already, in; raw outputs out."""
    ready = cycle([_prepared(model, image, device) for image in images[:, None].unbind()])

    def run() -> DetectorOutput:
        output: DetectorOutput = model(next(ready))
        return output

    return run


def e2e_call(model: Detector, images: Tensor, device: torch.device) -> Call:
    """Scope ``e2e``: a decoded uint8 image in host memory in; final boxes, in its pixels, out."""
    height, width = images.shape[-2:]
    given = cycle(images[:, None].unbind())

    def run() -> list[Detections]:
        output = model(_prepared(model, next(given), device))
        return model.decode(output, width=width, height=height)

    return run


def _prepared(model: Detector, image: Tensor, device: torch.device) -> Tensor:
    """uint8 [1, 3, H, W] to float [1, 3, S, S] in 0..1; the model subtracts mean and std itself."""
    side = model.image_size
    moved = image.to(device)
    if moved.shape[-2:] != (side, side):
        moved = resize(moved, [side, side], antialias=True)
    return moved.float() / 255


@contextmanager
def lent(models: Mapping[str, Detector]) -> Iterator[None]:
    """Models that may be moved and switched to eval inside; afterwards they are as they were."""
    devices = {name: model.mean.device for name, model in models.items()}
    modes = [(module, module.training) for model in models.values() for module in model.modules()]
    try:
        yield
    finally:
        for name, device in devices.items():
            models[name].to(device)
        for module, training in modes:
            module.training = training


def peak_memory_mib(call: Call, model: Detector, device: torch.device) -> float | None:
    """Weights and the activations of one call on a GPU; None on a CPU, where torch does not count."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    activations = torch.cuda.max_memory_allocated(device) - before
    weights = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    return float(activations + weights) / 2**20
