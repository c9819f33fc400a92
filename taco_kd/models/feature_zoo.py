"""The table of feature teachers, and how a name, a folder or a file becomes one."""

from __future__ import annotations

from pathlib import Path

from taco_kd.errors import DataError, MissingResourceError, UsageError, one_of
from taco_kd.files import read_json
from taco_kd.models import dinov3_entries, sources
from taco_kd.models.detector import FeatureModel
from taco_kd.models.entry import FeatureEntry, FeatureFamily
from taco_kd.models.hf_folder import is_hf_folder
from taco_kd.models.load_report import LoadReport
from taco_kd.models.loading import load_into
from taco_kd.models.readers import peek_model
from taco_kd.models.rebuilding import drawn_from
from taco_kd.models.stored import OURS, Blueprint, Stored

FEATURE_FAMILIES: dict[str, FeatureFamily] = {family.name: family for family in dinov3_entries.FAMILIES}
FEATURE_MODELS: dict[str, FeatureEntry] = {
    entry.name: entry for family in FEATURE_FAMILIES.values() for entry in family.entries
}
MODEL_TYPES: dict[str, str] = {family.model_type: family.name for family in FEATURE_FAMILIES.values()}
"""transformers' ``model_type`` to the family that can rebuild it"""


def find_features(name: str) -> FeatureEntry:
    """The entry of that name; UsageError names the valid ones."""
    if name not in FEATURE_MODELS:
        raise UsageError(one_of("feature teacher", name, FEATURE_MODELS))
    return FEATURE_MODELS[name]


def is_feature_model(name: str) -> bool:
    """Whether a model name means a feature teacher: one of the table, or a family, for other sizes."""
    return name in FEATURE_MODELS or name in FEATURE_FAMILIES


def make_features(
    name: str, *, weights: str, seed: int = 0, allow_partial: bool = False
) -> tuple[FeatureModel, list[LoadReport]]:
    """A feature teacher, frozen and in eval mode.

    Args:
        name: of the table, or of a family where the weights say the size.
        weights: ``packaged``, ``published``, ``random`` (drawn from ``seed``), a transformers folder, a
            .safetensors file of ours, or a hub name.

    Raises:
        UsageError: an unknown name, or weights of another model.
        DataError: a damaged file.
        MissingResourceError: the weights are not on this machine, or less than 90 % of them arrived.
    """
    if weights == "random":
        with drawn_from(seed):
            return find_features(name).build(), []
    if weights == "packaged":
        stored = sources.read_packaged(find_features(name))
    elif weights == "published":
        locate_features(name, weights)
        stored = sources.read_published(find_features(name), families=MODEL_TYPES)
    else:
        stored = sources.read(weights, families=MODEL_TYPES, wanted_by="--teacher")
    model, report = _loaded(stored, allow_partial)
    if name not in (model.model_name, model.family):
        raise UsageError(f"{stored.label}: holds a {model.model_name}, not a {name}")
    return model, [report]


def load_features(path: Path | str) -> tuple[FeatureModel, LoadReport]:
    """The feature teacher in a transformers folder, a .safetensors file of ours or a hub repository.

    Raises:
        MissingResourceError: there is no such file, or less than 90 % of the model's values were filled.
        DataError: damaged, or no feature teacher.
    """
    return _loaded(sources.read(str(path), families=MODEL_TYPES, wanted_by="--teacher"), False)


def locate_features(name: str, weights: str) -> None:
    """Make sure that the weights are on this machine; published ones are fetched. Raises as above."""
    if weights == "random":
        return
    if weights == "packaged":
        sources.packaged_file(find_features(name))
        return
    if weights != "published":
        sources.locate(weights, families=MODEL_TYPES, wanted_by="--teacher")
        return
    entry = find_features(name)
    try:
        sources.locate_published(entry, wanted_by="--teacher")
    except MissingResourceError as error:
        if entry.published is None or "gated" not in entry.published.licence:
            raise
        raise MissingResourceError(
            f"{error}; it is under the {entry.published.licence}: accept it on "
            f"https://huggingface.co/{entry.published.repo} and log in with `hf auth login` first"
        ) from None


def name_in(path: Path) -> str | None:
    """Name of the feature teacher in a folder or file, by its configuration or header; None for others.

    A size that nobody published has the name of its family.
    """
    if path.is_dir() and is_hf_folder(path):
        config = read_json(path / "config.json")
        family = MODEL_TYPES.get(str(config.get("model_type"))) if isinstance(config, dict) else None
        return None if family is None else _name(FEATURE_FAMILIES[family], config)
    held = peek_model(path)
    return held if held is not None and is_feature_model(held) else None


def _name(family: FeatureFamily, architecture: object) -> str:
    values = architecture if isinstance(architecture, dict) else {}
    entry = next((e for e in family.entries if e.size.items() <= values.items()), None)
    return family.name if entry is None else entry.name


def _loaded(stored: Stored, allow_partial: bool) -> tuple[FeatureModel, LoadReport]:
    blueprint = stored.blueprint
    if blueprint is None or blueprint.family not in FEATURE_FAMILIES:
        raise DataError(
            f"{stored.label}: holds no feature teacher ({stored.kind}); one is a transformers folder whose "
            f"model_type is {' or '.join(MODEL_TYPES)}, or a file that taco-kd wrote of one"
        )
    with drawn_from(0):
        model = _rebuilt(stored.label, blueprint, ours=stored.kind == OURS)
    report = load_into(model, stored, allow_partial=allow_partial)
    model.set_normalisation(blueprint.mean, blueprint.std)
    return model, report


def _rebuilt(label: str, blueprint: Blueprint, *, ours: bool) -> FeatureModel:
    family = FEATURE_FAMILIES[blueprint.family]
    name = blueprint.model_name if ours else _name(family, blueprint.architecture)
    # an image processor of a classifier says 224; a backbone takes any size
    image_size = blueprint.image_size if ours else family.entries[0].image_size
    try:
        return family.rebuild(blueprint.architecture, model_name=name, image_size=image_size)
    except Exception as error:  # the configuration classes raise their own kinds
        reason = " ".join(str(error).split())
        raise DataError(f"{label}: its configuration builds no {family.name} ({reason})") from None
