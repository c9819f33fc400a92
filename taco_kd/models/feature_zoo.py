"""The table of feature teachers, and how a name, a folder or a file becomes one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from taco_kd.errors import DataError, MissingResourceError, UsageError, one_of
from taco_kd.models import dinov3_entries
from taco_kd.models.detector import FeatureModel
from taco_kd.models.entry import FeatureEntry, FeatureFamily
from taco_kd.models.weights import MIN_MATCHED, LoadReport, read_weights

FEATURE_FAMILIES: dict[str, FeatureFamily] = {family.name: family for family in dinov3_entries.FAMILIES}
FEATURE_MODELS: dict[str, FeatureEntry] = {
    entry.name: entry for family in FEATURE_FAMILIES.values() for entry in family.entries
}


def find_features(name: str) -> FeatureEntry:
    """The entry of that name; UsageError names the valid ones."""
    if name not in FEATURE_MODELS:
        raise UsageError(one_of("feature teacher", name, FEATURE_MODELS))
    return FEATURE_MODELS[name]


def is_feature_model(name: str) -> bool:
    """Whether a model name means a feature teacher: one of the table, or a family, for other sizes."""
    return name in FEATURE_MODELS or name in FEATURE_FAMILIES


def make_features(name: str, *, weights: str, seed: int = 0) -> tuple[FeatureModel, list[LoadReport]]:
    """A feature teacher, frozen and in eval mode.

    Args:
        weights: ``published``, ``random`` (drawn from ``seed``), or the path of a Hugging Face folder
            (config.json and model.safetensors) or of a .safetensors file of ours.

    Raises:
        UsageError: an unknown name, or a path that holds another model.
        MissingResourceError: the weights are not on this machine, or less than 90 % of them arrived.
    """
    if weights not in ("published", "random"):
        model, report = load_features(Path(weights))
        if name not in (model.model_name, model.family):
            raise UsageError(f"{weights}: holds a {model.model_name}, not a {name}")
        return model, [report]
    entry = find_features(name)
    if weights == "published":
        model, report = load_features(_published_folder(entry))
        return model, [report]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return entry.build(), []


def load_features(path: Path) -> tuple[FeatureModel, LoadReport]:
    """The feature teacher in a Hugging Face folder or in a .safetensors file of ours.

    Raises:
        MissingResourceError: there is no such file, or less than 90 % of the model's values were filled.
        DataError: damaged, or no feature teacher.
    """
    stored = _described(path)
    if stored is None:
        valid = ", ".join(f.model_type for f in FEATURE_FAMILIES.values())
        raise DataError(
            f"{path}: no feature teacher; a folder whose model_type is {valid}, or a file of ours"
        )
    state, _ = read_weights(path / "model.safetensors" if path.is_dir() else path)
    if path.is_dir():
        state = {_renamed(key, stored.family.rename): value for key, value in state.items()}
    with torch.random.fork_rng(devices=[]):
        model = _rebuilt(path, stored)
    return model, _fill(model, state, source=str(path))


def name_in(path: Path) -> str | None:
    """Name of the feature teacher that ``path`` holds; None if it holds something else.

    A size that nobody published has the name of its family.
    """
    if path.is_dir() and not (path / "config.json").is_file():
        return None
    stored = _described(path)
    return None if stored is None else stored.name


@dataclass(frozen=True)
class _Stored:
    """What a folder or file says about the model in it."""

    family: FeatureFamily
    name: str
    architecture: Mapping[str, Any]
    image_size: int


def _described(path: Path) -> _Stored | None:
    if not path.is_dir():
        _, metadata = read_weights(path)
        found = FEATURE_FAMILIES.get(metadata.get("family", ""))
        if found is None:
            return None
        architecture = json.loads(metadata["architecture"])
        return _Stored(found, metadata["model"], architecture, int(metadata["image_size"]))
    config = _config(path)
    found = next((f for f in FEATURE_FAMILIES.values() if f.model_type == config.get("model_type")), None)
    if found is None:
        return None
    architecture = {k: v for k, v in config.items() if k not in ("architectures", "transformers_version")}
    entry = next((e for e in found.entries if e.size.items() <= architecture.items()), None)
    name = found.name if entry is None else entry.name
    return _Stored(found, name, architecture, found.entries[0].image_size)


def _renamed(key: str, prefixes: Mapping[str, str]) -> str:
    for published, ours in prefixes.items():
        if key.startswith(published):
            return ours + key.removeprefix(published)
    return key


def _config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingResourceError(
            f"{path}: no config.json; give a folder with config.json and model.safetensors, as published"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not readable as JSON ({error})") from None
    if not isinstance(values, dict):
        raise DataError(f"{file}: not a JSON object")
    return values


def _rebuilt(path: Path, stored: _Stored) -> FeatureModel:
    build, name = stored.family.rebuild, stored.name
    try:
        return build(stored.architecture, model_name=name, image_size=stored.image_size)
    except Exception as error:  # the configuration classes raise their own kinds
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: its configuration builds no {stored.family.name} ({reason})") from None


@torch.no_grad()
def _fill(model: FeatureModel, state: Mapping[str, Tensor], *, source: str) -> LoadReport:
    """Copy ``state`` into the network, with the report and the rule of every load."""
    own = model.network.state_dict()
    report = LoadReport(source, unexpected=[key for key in state if key not in own])
    filled = 0
    for key, target in own.items():
        found = state.get(key)
        if found is None:
            report.missing.append(key)
        elif found.shape != target.shape:
            report.reshaped.append(key)
        else:
            target.copy_(found)
            report.matched.append(key)
            filled += target.numel()
    report.matched_share = filled / max(sum(v.numel() for v in own.values()), 1)
    if report.matched_share < MIN_MATCHED:
        raise MissingResourceError(f"{report.line()}: less than {MIN_MATCHED:.0%} arrived, so it is not used")
    return report


def _published_folder(entry: FeatureEntry) -> Path:
    """The folder of the published weights: in the cache of the hub, or fetched now."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    published = entry.published
    if published is None:
        raise UsageError(f"{entry.name}: nobody published weights; give it random or a path")
    wanted = ["config.json", "model.safetensors"]
    try:
        folder = snapshot_download(published.repo, revision=published.revision, allow_patterns=wanted)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError):
        raise MissingResourceError(
            f"{entry.name}: its weights are not on this machine and cannot be fetched from here; they are "
            f"under the {published.licence}: accept it at https://huggingface.co/{published.repo}, then run "
            f"hf auth login and hf download {published.repo} --revision {published.revision}, or give a "
            f"folder that holds its {' and '.join(wanted)}"
        ) from None
    return Path(folder)
