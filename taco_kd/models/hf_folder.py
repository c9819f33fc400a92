"""Folders of transformers: config.json says what the model is, preprocessor_config.json how it sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from taco_kd.errors import DataError, MissingResourceError, UsageError, one_of
from taco_kd.files import read_json, sha256_file, sha256_json
from taco_kd.models.checkpoint_files import INDEX, PICKLE, WHOLE, shards
from taco_kd.models.detector import IDENTITY_MEAN, IDENTITY_STD, IMAGENET_MEAN, IMAGENET_STD
from taco_kd.models.stored import Blueprint, Stored
from taco_kd.models.weight_files import read_pytorch, read_safetensors, read_shards

Three = tuple[float, float, float]

NORMALISED = ("conditional_detr", "dab-detr", "deformable_detr", "detr", "dinov3_convnext", "dinov3_vit")
"""model types that were trained on ImageNet-normalised images, for folders that do not say"""

_NOT_ARCHITECTURE = (
    "id2label",
    "label2id",
    "num_labels",
    "transformers_version",
    "architectures",
    "_name_or_path",
    "dtype",
    "torch_dtype",
)


def is_hf_folder(path: Path) -> bool:
    return (path / "config.json").is_file()


def read_hf_folder(
    path: Path, families: Mapping[str, str], *, label: str | None = None, name: str | None = None
) -> Stored:
    """Weights, classes, architecture and input of a model saved by transformers.

    Args:
        families: the family of ``taco_kd.models`` by transformers' ``model_type``.
        label: the source in messages; the path when None.
        name: the model's name in records; the folder's when None.

    Raises:
        UsageError: a model type that no family takes.
        DataError: a file of it is damaged.
        MissingResourceError: it holds no weights, or a shard is missing.
    """
    config = read_json(path / "config.json")
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(model_type, str):
        raise DataError(f"{path / 'config.json'}: names no model_type, so it is none of transformers")
    if model_type not in families:
        raise UsageError(f"{path}: {one_of('model type', model_type, sorted(families))}")
    state, file = _weights(path)
    size, mean, std = _input(path, model_type)
    blueprint = Blueprint(
        families.get(_on_timm(config), families[model_type]),
        name or path.resolve().name,
        _architecture(path, config),
        size,
        mean,
        std,
    )
    origin = {"path": str(path.resolve()), "file": file.name, "sha256": _hash(file)}
    return Stored(
        label or str(path),
        f"transformers folder ({model_type})",
        state,
        _classes(config, path),
        blueprint,
        origin,
    )


def _on_timm(config: Mapping[str, Any]) -> str:
    """The model type with the kind of its backbone, for a family that exists on timm's backbones alone."""
    backbone = config.get("backbone_config")
    kind = backbone.get("model_type") if isinstance(backbone, dict) else None
    return f"{config['model_type']}/{kind}"


def _hash(file: Path) -> str:
    """Of the weights file; of shards, of the list of their hashes."""
    if file.name != INDEX:
        return sha256_file(file)
    return sha256_json({name: sha256_file(file.parent / name) for name in shards(file)})


def _weights(path: Path) -> tuple[dict[str, Tensor], Path]:
    if (path / WHOLE).is_file():
        return read_safetensors(path / WHOLE)[0], path / WHOLE
    if (path / INDEX).is_file():
        return read_shards(path / INDEX), path / INDEX
    if (path / PICKLE).is_file():
        return read_pytorch(path / PICKLE)[0], path / PICKLE
    raise MissingResourceError(f"{path}: holds a config.json and no weights ({WHOLE}, {INDEX} or {PICKLE})")


def _classes(config: Mapping[str, Any], path: Path) -> tuple[str, ...] | None:
    """Names by place of the head; transformers fills in LABEL_0, LABEL_1 where nobody gave any."""
    labels = config.get("id2label")
    if not isinstance(labels, dict):
        return None
    try:
        by_place = {int(place): str(name) for place, name in labels.items()}
    except ValueError:
        raise DataError(f"{path / 'config.json'}: id2label has keys that are no numbers") from None
    if sorted(by_place) != list(range(len(by_place))):
        raise DataError(f"{path / 'config.json'}: id2label does not number its classes 0, 1, 2 …")
    names = tuple(by_place[i] for i in range(len(by_place)))
    return None if all(name == f"LABEL_{i}" for i, name in enumerate(names)) else names


def _architecture(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as this version of transformers understands it, as a checkpoint of ours keeps it."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        parsed = AutoConfig.from_pretrained(str(path), local_files_only=True)
    except (ValueError, TypeError, KeyError, AttributeError, OSError, StrictDataclassError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path / 'config.json'}: not usable by transformers ({reason})") from None
    kept = {k: v for k, v in parsed.to_diff_dict().items() if k not in _NOT_ARCHITECTURE}
    kept["model_type"] = config["model_type"]
    backbone = kept.get("backbone_config")
    if isinstance(backbone, dict) and "use_pretrained_backbone" in backbone:
        backbone["use_pretrained_backbone"] = False  # its weights are in the file; nothing is downloaded
    return kept


def _input(path: Path, model_type: str) -> tuple[int, Three, Three]:
    """Side in pixels of the square input, mean and std for images in 0..1."""
    ours = model_type in NORMALISED
    file = path / "preprocessor_config.json"
    said = read_json(file) if file.is_file() else {}
    if not isinstance(said, dict):
        raise DataError(f"{file}: is no JSON object")
    try:
        side = _side(said.get("size"))
        # transformers counts pixels 0..255: y = (x * factor - mean) / std
        factor = 255.0 * (float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0)
        if not said.get("do_normalize", ours):
            return side, IDENTITY_MEAN, _scaled(IDENTITY_STD, factor)
        mean = _three(said.get("image_mean", IMAGENET_MEAN))
        std = _three(said.get("image_std", IMAGENET_STD))
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise DataError(f"{file}: not a usable image processor ({error})") from None
    return side, _scaled(mean, factor), _scaled(std, factor)


def _side(size: Any, default: int = 640) -> int:
    """A square side that every stride divides: ours are stretched, so one number stands for both sides."""
    if isinstance(size, int):
        side = size
    elif isinstance(size, dict) and "height" in size and "width" in size:
        side = max(int(size["height"]), int(size["width"]))
    elif isinstance(size, dict) and "shortest_edge" in size:
        side = int(size["shortest_edge"])
    else:
        side = default
    if side < 32:
        raise ValueError(f"size {size}")
    return 32 * math.ceil(side / 32)


def _scaled(values: Three, factor: float) -> Three:
    red, green, blue = (v / factor for v in values)
    return red, green, blue


def _three(values: Any) -> Three:
    red, green, blue = (float(v) for v in values)
    return red, green, blue
