"""Weights that provably arrive: save with what is needed to rebuild, load with a report of every key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from taco_kd.errors import DataError, MissingResourceError
from taco_kd.files import replacing
from taco_kd.models.detector import Detector, ImageModel
from taco_kd.runs import RunDir

MIN_MATCHED = 0.9
"""A load that fills less than this share of the model's values is an error."""


@dataclass
class LoadReport:
    """What happened to each key of a load.

    ``matched`` counts model values (not keys) that were filled, ``rows_by_name`` the classes whose rows of a
    head were copied although the two label spaces differ.
    """

    source: str
    matched: list[str] = field(default_factory=list)
    by_class: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    rows_by_name: list[str] = field(default_factory=list)
    matched_share: float = 0.0

    def line(self) -> str:
        """One line for the user."""
        text = (
            f"{self.source}: {len(self.matched)} keys matched ({self.matched_share:.0%} of the values), "
            f"{len(self.missing)} missing, {len(self.unexpected)} unexpected, "
            f"{len(self.reshaped)} of another shape"
        )
        if self.by_class:
            names = ", ".join(self.rows_by_name) or "none"
            text += f"; {len(self.by_class)} class layers copied by name ({names})"
        return text


def save_model(path: Path, model: ImageModel, *, half: bool = False) -> None:
    """Write weights and metadata to a .safetensors file, atomically; ``half`` stores float16."""
    state = {}
    for key, value in model.network.state_dict().items():
        stored = value.half() if half and value.is_floating_point() else value
        state[key] = stored.detach().cpu().contiguous().clone()
    with replacing(path) as aside:
        save_file(state, str(aside), metadata=dict(model.metadata()))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (floating ones as float32) and metadata of a .safetensors file or of a run folder.

    Raises:
        MissingResourceError: there is no such file.
        DataError: the file is damaged or not safetensors.
    """
    if path.is_dir():
        path = RunDir.open(path).model_file
    if not path.is_file():
        raise MissingResourceError(f"{path}: no such weights; give a .safetensors file or a run folder")
    if path.suffix != ".safetensors":
        raise DataError(f"{path}: weights are read from .safetensors only; convert other formats first")
    try:
        with safe_open(str(path), framework="pt") as stored:
            metadata = stored.metadata() or {}
            state = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a readable safetensors file ({error})") from None
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, metadata


def stored_class_names(metadata: Mapping[str, str], path: Path) -> tuple[str, ...]:
    """Class names of a checkpoint of ours; DataError where it carries none."""
    try:
        return tuple(json.loads(metadata["class_names"]))
    except (KeyError, json.JSONDecodeError):
        raise DataError(f"{path}: carries no class names; it was not saved by taco-kd") from None


def load_into(
    model: Detector,
    state: Mapping[str, Tensor],
    *,
    source: str,
    source_classes: Sequence[str],
    allow_partial: bool = False,
) -> LoadReport:
    """Copy ``state`` into the model; layers with one row per class are copied row by row, by class name.

    Raises:
        MissingResourceError: less than 90 % of the model's values were filled (class layers apart), unless
            ``allow_partial``: training from weights that never arrived is how a comparison goes wrong unseen.
    """
    own = model.network.state_dict()
    report = LoadReport(source, unexpected=[k for k in state if k not in own])
    rows = _row_pairs(model.class_names, source_classes)
    same_classes = tuple(source_classes) == model.class_names
    filled = values = 0
    for key, target in own.items():
        if _is_auxiliary(key):
            continue
        found = state.get(key)
        if found is not None and _per_class(model, key, target, found, len(source_classes)):
            if same_classes:
                target.copy_(found)
            else:
                for to, origin in rows.items():
                    target[to] = found[origin]
            report.by_class.append(key)
            report.matched.append(key)
            continue
        values += target.numel()
        if found is None:
            report.missing.append(key)
        elif found.shape != target.shape:
            report.reshaped.append(key)
        else:
            target.copy_(found)
            report.matched.append(key)
            filled += target.numel()
    report.rows_by_name = [model.class_names[i] for i in rows]
    report.matched_share = filled / max(values, 1)
    if report.matched_share < MIN_MATCHED and not allow_partial:
        raise MissingResourceError(f"{report.line()}: less than {MIN_MATCHED:.0%} arrived, so it is not used")
    return report


def load_backbone(model: Detector, state: Mapping[str, Tensor], *, source: str) -> LoadReport:
    """Copy only the backbone, as a ResNet shared by two families; the rest of the model stays as it is.

    Raises:
        MissingResourceError: less than 90 % of the backbone's values were filled.
    """
    network: dict[str, Tensor] = model.network.state_dict()
    own = {k: v for k, v in network.items() if model.is_backbone(k) and not _is_auxiliary(k)}
    report = LoadReport(source, unexpected=[key for key in state if key not in network])
    filled = 0
    for key, target in own.items():
        found = state.get(key)
        if found is not None and found.shape == target.shape:
            target.copy_(found)
            report.matched.append(key)
            filled += target.numel()
        else:
            (report.missing if found is None else report.reshaped).append(key)
    report.matched_share = filled / max(sum(v.numel() for v in own.values()), 1)
    if report.matched_share < MIN_MATCHED:
        raise MissingResourceError(f"{report.line()}: less than {MIN_MATCHED:.0%} of the backbone arrived")
    return report


def _is_auxiliary(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def _per_class(model: Detector, key: str, target: Tensor, found: Tensor, source_classes: int) -> bool:
    """Whether both tensors have one row per class (or one more, for "no object"), else alike."""
    classes = len(model.class_names)
    if not any(name in key for name in model.class_layers):
        return False
    if target.dim() == 0 or found.dim() != target.dim() or found.shape[1:] != target.shape[1:]:
        return False
    return any(
        target.shape[0] == classes + extra and found.shape[0] == source_classes + extra for extra in (0, 1)
    )


def _row_pairs(classes: Sequence[str], source_classes: Sequence[str]) -> dict[int, int]:
    index = {name: i for i, name in enumerate(source_classes)}
    return {i: index[name] for i, name in enumerate(classes) if name in index}


@torch.no_grad()
def weights_hash(module: nn.Module) -> str:
    """sha256 over all parameters and buffers: equal for equal weights."""
    import hashlib

    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
