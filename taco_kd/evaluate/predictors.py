"""What a user names on the command line, as a ``Predictor``: the table of kinds of models."""

from __future__ import annotations

from pathlib import Path

import torch

from taco_kd.errors import DataError, MissingResourceError
from taco_kd.evaluate.predict import LEAST_SCORE, BoxPredictor, ModelPredictor, Predictor
from taco_kd.files import sha256_file, sha256_json
from taco_kd.models import hub, zoo
from taco_kd.models.hf_pretrained import HFFolderDetector
from taco_kd.models.ultralytics_file import UltralyticsDetector

WEIGHTS = (".safetensors", ".pt", ".pth")
"""Files whose network is rebuilt here, without running code of theirs."""

_HASHED = ("*.safetensors", "*.bin", "*.json")


def is_run(source: str) -> bool:
    """A run folder of ours."""
    return (Path(source) / "run.json").is_file()


def is_results(source: str) -> bool:
    """A file of COCO results."""
    return Path(source).suffix.lower() == ".json"


def open_predictor(
    source: str, *, device: torch.device | str = "cpu", trust_pickle: bool = False
) -> Predictor:
    """The detector in a file or folder, or of a hub name.

    ``.onnx`` files are Ultralytics' and run as they are; the networks of ``.safetensors``, ``.pt`` and
    ``.pth`` are rebuilt by the zoo, and no code in them is run. A folder with ``config.json`` is one of
    transformers' ``save_pretrained``, ``owner/name`` such a folder in the Hugging Face cache or on the hub.

    Args:
        trust_pickle: let Ultralytics load a ``.pt`` file itself, which runs what its author put into it.

    Raises:
        DataError: a file or folder that is none of these, or not whole.
        UsageError: no detector, or one that the zoo cannot rebuild.
        MissingResourceError: not on this machine.
    """
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix == ".onnx" or (suffix == ".pt" and trust_pickle):
        return BoxPredictor(UltralyticsDetector(path, LEAST_SCORE, trust_pickle=trust_pickle))
    if suffix in WEIGHTS:
        if not path.is_file():
            raise MissingResourceError(f"{path}: no such weights file")
        return ModelPredictor(zoo.load(path), path.stem, device=device)
    if (path / "config.json").is_file():
        return BoxPredictor(HFFolderDetector(path, LEAST_SCORE, device=device))
    if not path.exists() and (name := hub.parse(source)) is not None:
        return BoxPredictor(_from_hub(name, device))
    if path.is_file():
        raise DataError(
            f"{path}: is no model that can be evaluated; give a run folder, a .safetensors, .pt or "
            ".pth file, an Ultralytics .onnx, a transformers folder, or COCO results (.json)"
        )
    raise DataError(
        f"{path}: not a run folder (no run.json), no transformers folder (no config.json) and no file of a "
        "model; make a run with taco-kd train"
    )


def _from_hub(name: hub.HubName, device: torch.device | str) -> HFFolderDetector:
    try:
        snapshot = hub.fetch(name, wanted_by="taco-kd evaluate")
    except MissingResourceError as error:
        raise MissingResourceError(f"no such file or run folder here, and on the hub: {error}") from None
    detector = HFFolderDetector(snapshot.folder, LEAST_SCORE, device=device)
    detector.name = name.repo.split("/")[1]
    return detector


def fingerprint(source: str) -> str:
    """Hash of what a model is made of; of a hub name the commit that is here, or the name."""
    path = Path(source)
    if path.is_file():
        return sha256_file(path)
    if path.is_dir():
        files = sorted({file for pattern in _HASHED for file in path.glob(pattern)})
        return sha256_json({file.name: sha256_file(file) for file in files})
    name = hub.parse(source)
    snapshot = hub.cached(name) if name is not None else None
    return f"{source}@{snapshot.commit}" if snapshot else source
