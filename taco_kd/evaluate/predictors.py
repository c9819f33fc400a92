"""What a user names on the command line, as a ``Predictor``: the table of kinds of models."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from taco_kd.errors import DataError, MissingResourceError
from taco_kd.evaluate.predict import LEAST_SCORE, BoxPredictor, ModelPredictor, Predictor
from taco_kd.files import sha256_file, sha256_json
from taco_kd.models import zoo
from taco_kd.models.hf_pretrained import HFFolderDetector
from taco_kd.models.ultralytics_file import UltralyticsDetector

ULTRALYTICS = (".onnx", ".pt")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHTS = ("*.safetensors", "*.bin", "*.json")


def is_run(source: str) -> bool:
    """A run folder of ours."""
    return (Path(source) / "run.json").is_file()


def is_results(source: str) -> bool:
    """A file of COCO results."""
    return Path(source).suffix.lower() == ".json"


def open_predictor(
    source: str, *, device: torch.device | str = "cpu", trust_pickle: bool = False
) -> Predictor:
    """The detector in a file, a folder, or the local Hugging Face cache.

    ``.safetensors`` files are ours, ``.onnx`` and ``.pt`` Ultralytics', a folder with ``config.json`` is of
    transformers' ``save_pretrained``, and ``owner/name`` a model in the Hugging Face cache.

    Raises:
        DataError: a file or folder that is none of these, or not whole.
        UsageError: a pickle that is not trusted, or no detector.
        MissingResourceError: not on this machine.
    """
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix in ULTRALYTICS:
        return BoxPredictor(UltralyticsDetector(path, LEAST_SCORE, trust_pickle=trust_pickle))
    if suffix == ".safetensors":
        if not path.is_file():
            raise MissingResourceError(f"{path}: no such weights file")
        return ModelPredictor(zoo.load(path), path.stem, device=device)
    if (path / "config.json").is_file() or (not path.exists() and _HUB_NAME.fullmatch(source)):
        found = path if path.is_dir() else source
        return BoxPredictor(HFFolderDetector(found, LEAST_SCORE, device=device))
    if path.is_file():
        raise DataError(
            f"{path}: is no model that can be evaluated; give a run folder, a .safetensors file of ours, an "
            "Ultralytics .onnx or .pt, a transformers folder, or COCO results (.json)"
        )
    raise DataError(
        f"{path}: not a run folder (no run.json), no transformers folder (no config.json) and no file of a "
        "model; make a run with taco-kd train"
    )


def fingerprint(source: str) -> str:
    """Hash of what a model is made of; of a name in the cache, which is not hashed, the name."""
    path = Path(source)
    if path.is_file():
        return sha256_file(path)
    if path.is_dir():
        files = sorted({file for pattern in _WEIGHTS for file in path.glob(pattern)})
        return sha256_json({file.name: sha256_file(file) for file in files})
    return source
