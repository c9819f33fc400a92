"""Tensors out of single files, whatever is really in them: safetensors, shards, PyTorch's own format.

A file of PyTorch's is unpickled with ``weights_only=True``: a pickle can hold a program, and is not run here.
"""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from taco_kd.errors import DataError, MissingResourceError
from taco_kd.models.checkpoint_files import shards

NESTED = (("ema", "module"), ("ema", "model"), ("ema",), ("model",), ("state_dict",), ("model_state_dict",))
"""Where training programs keep the weights inside a checkpoint; a moving average is the better model."""


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (floating ones as float32) and metadata of a .safetensors file.

    Raises:
        MissingResourceError: there is no such file.
        DataError: the file is damaged or something else.
    """
    _check(path)
    try:
        with safe_open(str(path), framework="pt") as stored:
            metadata = stored.metadata() or {}
            state = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        found = describe_bytes(path)
        reason = f"it is {found}" if found else str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable safetensors file ({reason})") from None
    return _float32(state), metadata


def read_pytorch(path: Path) -> tuple[dict[str, Tensor], str]:
    """Tensors of a .pth, .pt or .bin file of PyTorch's, and where in it they were.

    Raises:
        MissingResourceError: there is no such file.
        DataError: the file is damaged, holds code, or holds no weights.
    """
    _check(path)
    try:
        # argparse.Namespace holds the flags of many training programs, and can do nothing
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # about old pickles, which we refuse or read either way
            values = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if describe_bytes(path):
            raise DataError(f"{path}: not a PyTorch file: it is {describe_bytes(path)}") from None
        if "Unsupported global" in str(error) or "weights_only" in str(error).lower():
            raise DataError(
                f"{path}: holds pickled program objects and not weights alone, and running a stranger's code "
                "is refused; save its state_dict() as .safetensors where you trust it"
            ) from None
        raise DataError(f"{path}: not a readable PyTorch file") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        found = describe_bytes(path)
        reason = f"it is {found}" if found else (str(error).splitlines() or ["it is cut off"])[0]
        raise DataError(f"{path}: not a readable PyTorch file ({reason})") from None
    return _dig(values, path)


def read_shards(index: Path) -> dict[str, Tensor]:
    """All tensors of a sharded checkpoint, by its index (``model.safetensors.index.json``).

    Raises:
        MissingResourceError: a shard is not there.
        DataError: the index or a shard is damaged.
    """
    state: dict[str, Tensor] = {}
    for name in shards(index):
        if not (index.parent / name).is_file():
            raise MissingResourceError(f"{index.parent / name}: this shard of the weights is missing")
        state.update(read_safetensors(index.parent / name)[0])
    return state


def _check(path: Path) -> None:
    if not path.is_file():
        raise MissingResourceError(f"{path}: no such weights file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes); copy or download it again")
    with path.open("rb") as stream:
        head = stream.read(256)
    if head.startswith(b"version https://git-lfs"):
        raise DataError(f"{path}: a git-LFS pointer and not the weights themselves; fetch them: git lfs pull")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError(f"{path}: a web page and not weights; download the file itself (its raw link)")


def describe_bytes(path: Path) -> str:
    """What the first bytes say a file is, when that is something else than its name promises."""
    with path.open("rb") as stream:
        head = stream.read(16)
    if head.startswith(b"PK\x03\x04"):
        return "" if path.suffix in (".pt", ".pth", ".bin") else "a PyTorch or zip file: name it .pth"
    if len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return "" if path.suffix == ".safetensors" else "a safetensors file: name it .safetensors"
    if head.startswith(b"\x80"):
        return "" if path.suffix in (".pt", ".pth", ".bin") else "a pickle of PyTorch's: name it .pth"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        return "a compressed archive: unpack it first"
    return ""


def _dig(values: Any, path: Path) -> tuple[dict[str, Tensor], str]:
    for keys in ((), *NESTED):
        inner = values
        for key in keys:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping) and inner:
            tensors = {str(k): v for k, v in inner.items() if isinstance(v, Tensor)}
            if tensors and len(tensors) >= len(inner) / 2:
                return _float32(tensors), ".".join(keys)
    held = ", ".join(map(str, list(values)[:5])) if isinstance(values, Mapping) else type(values).__name__
    raise DataError(f"{path}: holds no weights where training programs keep them (it holds {held})")


def _float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: v.float() if v.is_floating_point() else v for key, v in state.items()}
