"""Weights from the files that Ultralytics writes: ``.pt``, a whole pickled model, and exported ``.onnx``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from taco_kd.errors import MissingResourceError
from taco_kd.files import sha256_file
from taco_kd.models.detector import IDENTITY_MEAN, IDENTITY_STD
from taco_kd.models.inert_pickle import read_pickled_model
from taco_kd.models.onnx_weights import read_onnx_model
from taco_kd.models.stored import Blueprint, Stored
from taco_kd.models.yolo_network import YoloShape, class_width, is_fused


def holds_a_model(path: Path) -> bool:
    """Whether a .pt file names classes that PyTorch does not load by itself, by its table of names alone."""
    try:
        return bool(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # not a checkpoint: whoever reads it says what it is instead
        return False


def read_pickled_file(path: Path) -> Stored:
    """A model that Ultralytics saved; no code in it is run (see ``inert_pickle``).

    Raises:
        DataError: not such a file, damaged, or one that cannot be read without running code.
    """
    model = read_pickled_model(path)
    return Stored(
        str(path),
        "Ultralytics checkpoint",
        model.state,
        model.class_names,
        blueprint(model.name, model.state, model.image_size),
        {"path": str(path.resolve()), "sha256": sha256_file(path)},
        ("read without running the code it names",),
    )


def read_onnx_file(path: Path) -> Stored:
    """A detector that Ultralytics exported.

    Raises:
        MissingResourceError: there is no such file.
        DataError: not ONNX, not of Ultralytics, or not a detector.
    """
    if not path.is_file():
        raise MissingResourceError(f"{path}: no such weights file")
    model = read_onnx_model(path)
    remarks = (f"{model.quantised} integer weights turned into float",) if model.quantised else ()
    return Stored(
        str(path),
        "ONNX of Ultralytics",
        model.state,
        model.class_names,
        blueprint(model.name, model.state, model.image_size),
        {"path": str(path.resolve()), "sha256": sha256_file(path)},
        remarks,
    )


def blueprint(name: str, state: Mapping[str, Tensor], image_size: int) -> Blueprint | None:
    """The model called ``name`` by Ultralytics (``yolo11n``, ``YOLOv8n``, ``rtdetr-l``); None for others.

    Only the name is taken from the file, never its description of the network, which Ultralytics would run.
    """
    yolo = re.fullmatch(r"(yolov8|yolo11)([nsmlx])", name.lower())
    if yolo:
        shape = YoloShape(yolo[1], yolo[2], class_width(state), is_fused(state))
        return Blueprint("yolo", yolo[0], shape.to_json(), image_size, IDENTITY_MEAN, IDENTITY_STD)
    rtdetr = re.fullmatch(r"rtdetr-([lx])", name.lower())
    if rtdetr:
        architecture = {"size": rtdetr[1]}
        ours = f"rtdetr-hgnetv2-{rtdetr[1]}"
        return Blueprint("rtdetr-hgnetv2", ours, architecture, image_size, IDENTITY_MEAN, IDENTITY_STD)
    return None
