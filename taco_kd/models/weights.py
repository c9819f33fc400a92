"""Our own weights files: one .safetensors with what is needed to rebuild the model; and hashes of weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from taco_kd.files import replacing
from taco_kd.models.detector import ImageModel


def save_model(path: Path, model: ImageModel, *, half: bool = False) -> None:
    """Write weights and metadata to a .safetensors file, atomically; ``half`` stores float16."""
    state = {}
    for key, value in model.network.state_dict().items():
        stored = value.half() if half and value.is_floating_point() else value
        state[key] = stored.detach().cpu().contiguous().clone()
    needs = sum(t.numel() * t.element_size() for t in state.values())
    with replacing(path, needs_bytes=needs) as aside:
        save_file(state, str(aside), metadata=dict(model.metadata()))


@torch.no_grad()
def weights_hash(module: nn.Module) -> str:
    """sha256 over all parameters and buffers: equal for equal weights."""
    import hashlib

    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
