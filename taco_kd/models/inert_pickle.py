"""Tensors out of a ``.pt`` file that pickles a whole model, without running or importing what it names.

Such a file (Ultralytics saves no other) names the classes and functions it was made of, and the usual way of
loading calls them: code of the author's choice. Here every such name is read as an inert class, which keeps
what it is given and does nothing, and PyTorch's ``weights_only`` reader does the rest. Even the architecture
cannot act: the file's own description of it is never evaluated.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from taco_kd.errors import DataError

DETECTORS = ("DetectionModel", "RTDETRDetectionModel")


class Inert:
    """Stands for an object of a class that is not run; ``state`` is what its pickle carried."""

    state: Any = None

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Takes the arguments of any class, and drops them."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


@dataclass(frozen=True)
class PickledModel:
    """A detector of Ultralytics as tensors.

    Attributes:
        kind: its class, as ``DetectionModel``.
        name: what Ultralytics calls the network, as ``yolo11n``; "" where the file does not say.
        image_size: side in pixels it was trained at.
    """

    kind: str
    name: str
    state: dict[str, Tensor]
    class_names: tuple[str, ...]
    image_size: int


def read_pickled_model(path: Path) -> PickledModel:
    """The model in an Ultralytics ``.pt`` file: its moving average where it has one; values as float32.

    Raises:
        DataError: not such a file, damaged, or one that needs code of its own to be read.
    """
    loaded = _load_inert(path)
    model = (loaded.get("ema") or loaded.get("model")) if isinstance(loaded, dict) else loaded
    attributes = getattr(model, "state", None)
    if not isinstance(model, Inert) or not isinstance(attributes, dict) or "_modules" not in attributes:
        raise DataError(f"{path}: holds no model that Ultralytics saved (a .pt file of its own is needed)")
    names = attributes.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
        raise DataError(f"{path}: the model inside carries no class names")
    kind = type(model).__name__
    if kind not in DETECTORS:
        raise DataError(f"{path}: holds a {kind}; one of {', '.join(DETECTORS)} is needed")
    state = {key: _plain(value) for key, value in _tensors(attributes, "")}
    described, said = attributes.get("yaml"), loaded.get("train_args") if isinstance(loaded, dict) else None
    file = described.get("yaml_file") if isinstance(described, dict) else None
    side = said.get("imgsz") if isinstance(said, dict) else None
    return PickledModel(
        kind,
        Path(str(file or "")).stem,
        state,
        tuple(names[key] for key in sorted(names)),
        side if isinstance(side, int) and side > 0 else 640,
    )


def _load_inert(path: Path) -> Any:
    try:
        wanted = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        inert: list[Any] = [(type(name.rpartition(".")[2], (Inert,), {}), name) for name in wanted]
        with torch.serialization.safe_globals(inert):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: not a readable .pt file ({_reason(error)})") from None
    except (pickle.UnpicklingError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: cannot be read without running code that it brings along ({_reason(error)}); "
            "save its state_dict() as .safetensors where you trust it"
        ) from None


def _reason(error: Exception) -> str:
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named:
        return f"it calls {named[1]}"
    if "WeightsUnpickler error:" in str(error):
        return str(error).partition("WeightsUnpickler error:")[2].strip().splitlines()[0]
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _tensors(attributes: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Parameters and persistent buffers of a module and of those in it, by their names in a state dict."""
    passing = attributes.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for name, value in (attributes.get(kind) or {}).items():
            if isinstance(value, Tensor) and name not in passing:
                yield f"{prefix}{name}", value
    for name, child in (attributes.get("_modules") or {}).items():
        inner = getattr(child, "state", None)
        if isinstance(inner, dict):
            yield from _tensors(inner, f"{prefix}{name}.")


def _plain(value: Tensor) -> Tensor:
    detached = value.detach()
    return detached.float() if detached.is_floating_point() else detached
