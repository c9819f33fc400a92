"""Weights out of an ONNX file that Ultralytics exported, float or quantised, by the names of its modules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taco_kd.errors import DataError

QUANTISED = "_quantized"
"""What ONNX Runtime's quantiser appends to the name of a weight; its scale and zero point stand beside it."""


@dataclass(frozen=True)
class OnnxModel:
    """A detector of Ultralytics as tensors, by the names of the modules they belong to.

    Attributes:
        name: what Ultralytics calls the network, as ``YOLOv8n``; "" where the file does not say.
        class_names: in the order of the outputs.
        image_size: side in pixels it was exported for.
        quantised: how many of the tensors were integers.
    """

    name: str
    state: dict[str, Tensor]
    class_names: tuple[str, ...]
    image_size: int
    quantised: int


def read_onnx_model(path: Path) -> OnnxModel:
    """The weights and class names of a detector that Ultralytics exported.

    Exported convolutions have their batch norm folded in, so this is the state dict of a fused network.
    Integer weights become (value - zero point) x scale, as the graph itself computes them.

    Raises:
        DataError: not ONNX, not exported by Ultralytics, for another task, or without named weights.
    """
    model = _load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    names = _names(metadata, path)
    if metadata.get("task", "detect") != "detect":
        raise DataError(f"{path}: is a model for {metadata['task']!r}; a 'detect' model is needed")
    from onnx import numpy_helper

    stored: dict[str, NDArray[Any]] = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    state = dict(_weights(stored, model.graph.node))
    if not state:
        raise DataError(f"{path}: its weights lost the names of their modules; export it again, unsimplified")
    said = re.match(r"Ultralytics (\S+) model", metadata.get("description", ""))
    sides = [int(number) for number in re.findall(r"\d+", metadata.get("imgsz", ""))]
    return OnnxModel(
        said[1] if said else "",
        state,
        names,
        sides[0] if sides else 640,
        sum(name not in stored for name in state),
    )


def _load(path: Path) -> Any:
    import onnx

    try:
        return onnx.load_model(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own, which has no typed name
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: is not an ONNX file ({reason})") from None


def _names(metadata: dict[str, str], path: Path) -> tuple[str, ...]:
    try:
        names = ast.literal_eval(metadata.get("names", "{}"))
        found = tuple(str(names[key]) for key in sorted(names))
    except (SyntaxError, ValueError, TypeError, KeyError):
        found = ()
    if not found:
        raise DataError(f"{path}: carries no class names, so Ultralytics did not export it")
    return found


def _weights(stored: dict[str, NDArray[Any]], nodes: Any) -> Iterator[tuple[str, Tensor]]:
    """Everything called ``model.*.weight`` or ``model.*.bias``, dequantised where need be."""
    scaled = {  # QDQ: the name of a weight is that of the node's output
        node.output[0].removesuffix("_DequantizeLinear_Output"): node.input
        for node in nodes
        if node.op_type == "DequantizeLinear" and node.input[0] in stored
    }
    for name, values in stored.items():
        if _is_ours(name):
            yield name, torch.from_numpy(values.astype(np.float32))
        elif _is_ours(plain := name.removesuffix(QUANTISED)) and plain not in scaled:
            scale, zero = stored[f"{plain}_scale"], stored[f"{plain}_zero_point"]
            yield plain, _dequantised(values, scale, zero)
    for name, inputs in scaled.items():
        if _is_ours(name) and name not in stored:
            values, scale = stored[inputs[0]], stored[inputs[1]]
            zero = stored[inputs[2]] if len(inputs) > 2 else np.zeros_like(scale)
            yield name, _dequantised(values, scale, zero)


def _is_ours(name: str) -> bool:
    return name.startswith("model.") and name.endswith((".weight", ".bias"))


def _dequantised(values: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any]) -> Tensor:
    """(value - zero point) x scale; one scale for all, or one for each output channel (the first axis)."""
    column = (-1, *[1] * (values.ndim - 1)) if scale.size > 1 else ()
    centred = values.astype(np.float32) - zero.astype(np.float32).reshape(column)
    return torch.from_numpy((centred * scale.astype(np.float32).reshape(column)).astype(np.float32))
