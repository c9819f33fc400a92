"""Our own weights files: one .safetensors with what is needed to rebuild the model; and hashes of weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from taco_kd.files import replacing
from taco_kd.models.detector import ImageModel
from taco_kd.models.weight_files import read_safetensors
from taco_kd.runs import RunDir


def save_model(path: Path, model: ImageModel, *, half: bool = False) -> None:
    """Write weights and metadata to a .safetensors file, atomically; ``half`` stores float16."""
    state = {}
    for key, value in model.network.state_dict().items():
        stored = value.half() if half and value.is_floating_point() else value
        state[key] = stored.detach().cpu().contiguous().clone()
    with replacing(path) as aside:
        save_file(state, str(aside), metadata=dict(model.metadata()))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (floating ones as float32) and metadata of a .safetensors file of ours or of a run folder.

    Raises:
        MissingResourceError: there is no such file.
        DataError: the file is damaged or not safetensors.
    """
    return read_safetensors(RunDir.open(path).model_file if path.is_dir() else path)


@torch.no_grad()
def weights_hash(module: nn.Module) -> str:
    """sha256 over all parameters and buffers: equal for equal weights."""
    import hashlib

    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
