"""Any detector as a ``BoxDetector``: a file, a folder, a run, a name of the model list or of the hub."""

from __future__ import annotations

from pathlib import Path

import torch

from taco_kd.autolabel.nano import ModelDetector
from taco_kd.classes.spaces import space_or_file
from taco_kd.errors import MissingResourceError, UsageError
from taco_kd.evaluate.predictors import WEIGHTS, is_run
from taco_kd.models import hub, zoo
from taco_kd.models.hf_pretrained import HFFolderDetector
from taco_kd.models.open_vocabulary import MODEL_TYPES, model_type_of
from taco_kd.models.ultralytics_file import BoxDetector, UltralyticsDetector
from taco_kd.models.yolox_file import YoloxDetector, is_yolox

PACKAGED = "conditional-detr-nano"
"""finds the boxes where the user names no detector: trained on the built-in scenes"""
SECOND = "rtdetr-nano"
"""agrees with it or not, on the built-in scenes"""
_PLACES = (
    "a .onnx, .pt, .pth or .safetensors file, a run folder, a transformers folder, a hub name (OWNER/REPO) "
    "or a model of taco-kd list models"
)


def open_detector(  # noqa: PLR0911 - one return a kind
    source: str,
    min_score: float,
    *,
    classes: str | None = None,
    model: str | None = None,
    device: torch.device | str = "cpu",
    trust_pickle: bool = False,
    option: str = "--detector",
) -> BoxDetector:
    """The detector that a user names.

    ``.onnx`` files of Ultralytics and of YOLOX run as they are; networks in ``.pt``, ``.pth`` and
    ``.safetensors`` are rebuilt by the zoo, and no code in them is run.

    Args:
        min_score: boxes below this confidence (0..1) need not be returned.
        classes: label space of a file that names no classes (``coco-80``, or a file with a name a line).
        model: name in the model list of bare weights that do not say what they are of.
        trust_pickle: let Ultralytics load a ``.pt`` file itself, which can run any code.
        option: the option the source was given to, for messages.

    Raises:
        UsageError: not a detector of fixed classes, or one that cannot be rebuilt.
        DataError: a file or folder that is damaged.
        MissingResourceError: not on this machine, nor to be had.
    """
    path, suffix = Path(source), Path(source).suffix.lower()
    if suffix == ".onnx" and path.is_file() and is_yolox(path):
        return YoloxDetector(path, space_or_file(classes or "coco-80"), min_score)
    if suffix == ".onnx" or (suffix == ".pt" and trust_pickle):
        return UltralyticsDetector(path, min_score, trust_pickle=trust_pickle)
    if suffix in WEIGHTS:
        if not path.is_file():
            raise MissingResourceError(f"{source}: no such detector file{_where_to_get(path)}")
        return _of_zoo(source, path.stem, classes, model, device)
    if (path / "config.json").is_file() and not is_run(source):
        return _of_transformers(path, path.resolve().name, min_score, device, option)
    if source in zoo.MODELS and not path.exists():
        entry = zoo.find(source)
        weights = "packaged" if entry.packaged else "published"
        found, _ = zoo.load_reported(weights, expected_model=source, wanted_by=option)
        return ModelDetector(found.to(device), source)
    if path.exists():
        return _of_zoo(source, path.resolve().name, classes, model, device)
    name = hub.parse(source)
    if name is None:
        raise MissingResourceError(f"{source}: no such detector; {option} takes {_PLACES}")
    return _of_transformers(hub.fetch(name, wanted_by=option).folder, str(name), min_score, device, option)


def _of_zoo(
    source: str, name: str, classes: str | None, model: str | None, device: torch.device | str
) -> BoxDetector:
    found, _ = zoo.load_reported(
        source, expected_model=model, options=zoo.LoadOptions(classes=classes), wanted_by="--detector"
    )
    return ModelDetector(found.to(device), name)


def _of_transformers(
    folder: Path, name: str, min_score: float, device: torch.device | str, option: str
) -> BoxDetector:
    if model_type_of(folder) in MODEL_TYPES:
        raise UsageError(
            f"{name}: is an open-vocabulary detector, which has no classes of its own; give it to "
            f"--open-vocabulary, and to {option} one of fixed classes"
        )
    detector = HFFolderDetector(folder, min_score, device=device)
    detector.name = name
    return detector


def _where_to_get(path: Path) -> str:
    """How to fetch a file that Ultralytics publishes; nothing is downloaded unasked."""
    if path.suffix == ".pt" and path.stem.lower().startswith(("yolov8", "yolo11")) and len(path.parts) == 1:
        return (
            f"; with a network: curl -LO https://github.com/ultralytics/assets/releases/download/v8.3.0/"
            f"{path.name} (AGPL-3.0), then the same command again"
        )
    return f"; give {_PLACES}"
