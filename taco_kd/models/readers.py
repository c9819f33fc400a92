"""Weights out of a file or folder on this machine, by what it is: ours, transformers', PyTorch's, ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from taco_kd.errors import DataError
from taco_kd.files import sha256_file
from taco_kd.models.checkpoint_files import INDEX
from taco_kd.models.hf_folder import is_hf_folder, read_hf_folder
from taco_kd.models.stored import OURS, Stored, blueprint_of_ours, classes_of_ours
from taco_kd.models.ultralytics_files import holds_a_model, read_onnx_file, read_pickled_file
from taco_kd.models.weight_files import read_pytorch, read_safetensors, read_shards
from taco_kd.runs import RunDir

Reader = Callable[[Path], Stored]


def read_safetensors_file(path: Path) -> Stored:
    """A .safetensors file, ours or somebody else's."""
    state, metadata = read_safetensors(path)
    origin = {"path": str(path.resolve()), "sha256": sha256_file(path)}
    if not metadata.get("format", "").startswith("taco-kd/") and "class_names" not in metadata:
        return Stored(str(path), "safetensors of another program", state, origin=origin)
    return Stored(
        str(path),
        OURS,
        state,
        classes_of_ours(metadata, path),
        blueprint_of_ours(metadata, path),
        {**origin, "model": metadata.get("model", "")},
    )


def read_pytorch_file(path: Path) -> Stored:
    """A checkpoint of PyTorch's; the moving average of a training program is preferred."""
    state, inside = read_pytorch(path)
    remarks = (f"read {inside!r} of the checkpoint",) if inside else ()
    origin = {"path": str(path.resolve()), "sha256": sha256_file(path)}
    return Stored(str(path), "PyTorch checkpoint", state, origin=origin, remarks=remarks)


def read_pt_file(path: Path) -> Stored:
    """A .pt file: tensors alone, or one of Ultralytics', which is a whole model."""
    return read_pickled_file(path) if holds_a_model(path) else read_pytorch_file(path)


def peek_model(path: Path) -> str | None:
    """The model that a file or run folder of ours holds, by its header alone; None where it does not say."""
    from safetensors import SafetensorError, safe_open

    file = RunDir(path).model_file if path.is_dir() else path
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    try:
        with safe_open(str(file), framework="pt") as stored:
            metadata = stored.metadata() or {}
    except (SafetensorError, OSError):
        return None
    return metadata.get("model") if "class_names" in metadata else None


READERS: dict[str, Reader] = {
    ".safetensors": read_safetensors_file,
    ".pth": read_pytorch_file,
    ".pt": read_pt_file,
    ".bin": read_pytorch_file,
    ".onnx": read_onnx_file,
}
"""which function reads a file, by its suffix"""


def reader_of(path: Path, families: Mapping[str, str]) -> Reader:
    """What reads this file or folder.

    Raises:
        DataError: nothing does.
    """
    if path.is_file():
        if path.name == INDEX:
            return _read_index
        if path.suffix not in READERS:
            raise DataError(f"{path}: weights are read from {', '.join(READERS)} files and folders")
        return READERS[path.suffix]
    run = RunDir(path)
    if run.record_file.is_file():
        if not run.model_file.is_file():
            raise DataError(f"{path}: this run is not finished; go on: taco-kd train --resume {path}")
        return lambda folder: read_safetensors_file(RunDir(folder).model_file)
    if is_hf_folder(path):
        return lambda folder: read_hf_folder(folder, families)
    if (path / INDEX).is_file():
        return lambda folder: _read_index(folder / INDEX)
    raise DataError(
        f"{path}: holds no weights: not a run folder (no run.json) and not a transformers folder "
        "(no config.json)"
    )


def _read_index(index: Path) -> Stored:
    return Stored(str(index), "safetensors shards", read_shards(index), origin={"path": str(index.resolve())})
