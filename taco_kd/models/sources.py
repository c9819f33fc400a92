"""Where weights come from: one word of the user's (packaged, published, a path, a hub name) to tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

from taco_kd.errors import MissingResourceError, UsageError
from taco_kd.models import hub
from taco_kd.models.entry import FeatureEntry, ModelEntry
from taco_kd.models.hf_folder import read_hf_folder
from taco_kd.models.readers import READERS, read_safetensors_file, reader_of
from taco_kd.models.stored import Stored

PLACES = (
    "a run folder, a transformers folder, a .safetensors, .pth, .pt or .onnx file, or a hub name "
    "(OWNER/REPO@REVISION)"
)
WORDS = f"packaged, published, random, {PLACES}"
"""the sources there are, for messages"""


def read(word: str, *, families: Mapping[str, str], wanted_by: str = "--weights") -> Stored:
    """Weights from a path or a hub name.

    Args:
        families: the family of ``taco_kd.models`` by transformers' ``model_type``.
        wanted_by: the option the word was given to, for messages.

    Raises:
        UsageError: neither a path nor a hub name, or a kind of file that no reader takes.
        DataError: the file is damaged.
        MissingResourceError: it is not on this machine, nor to be had.
    """
    found = _place(word, wanted_by)
    if isinstance(found, hub.HubName):
        return read_hub(found, families=families, wanted_by=wanted_by)
    return reader_of(found, families)(found)


def locate(word: str, *, families: Mapping[str, str], wanted_by: str = "--weights") -> None:
    """Make sure that ``read`` will find something here, without reading it; raises as ``read`` does."""
    found = _place(word, wanted_by)
    if isinstance(found, hub.HubName):
        hub.fetch(found, wanted_by=wanted_by)
    else:
        reader_of(found, families)


def _place(word: str, wanted_by: str) -> Path | hub.HubName:
    path = Path(word)
    if path.exists():
        return path
    name = hub.parse(word)
    if name is None or path.suffix in READERS:
        raise MissingResourceError(f"{word}: no such weights file; {wanted_by} takes {WORDS}")
    return name


def read_published(
    entry: ModelEntry | FeatureEntry, *, families: Mapping[str, str], wanted_by: str = "--weights"
) -> Stored:
    """Weights that somebody published for this model, from the cache or the hub.

    Raises:
        UsageError: nobody published any.
        MissingResourceError: they are not on this machine, nor to be had.
    """
    return read_hub(_published(entry), families=families, wanted_by=wanted_by)


def locate_published(entry: ModelEntry | FeatureEntry, *, wanted_by: str = "--weights") -> hub.Snapshot:
    """The published files of this model on this machine, fetched if need be; raises as above."""
    return hub.fetch(_published(entry), wanted_by=wanted_by)


def _published(entry: ModelEntry | FeatureEntry) -> hub.HubName:
    if entry.published is None:
        raise UsageError(f"{entry.name} has no published weights; give {WORDS}")
    return hub.HubName(entry.published.repo, entry.published.revision)


def read_hub(name: hub.HubName, *, families: Mapping[str, str], wanted_by: str = "--weights") -> Stored:
    """Weights of a hub repository, with the commit they are of."""
    snapshot = hub.fetch(name, wanted_by=wanted_by)
    stored = read_hf_folder(snapshot.folder, families, label=str(name), name=name.repo)
    origin = {**stored.origin, "repository": name.repo, "commit": snapshot.commit}
    return replace(stored, label=f"{name.repo}@{snapshot.commit[:12]}", origin=origin)


def read_packaged(entry: ModelEntry | FeatureEntry) -> Stored:
    """Weights that ship with the package; UsageError where this model has none."""
    stored = read_safetensors_file(packaged_file(entry))
    return replace(stored, label=f"{entry.name} packaged weights")


def packaged_file(entry: ModelEntry | FeatureEntry) -> Path:
    """The file of the weights that ship with the package.

    Raises:
        UsageError: this model has none.
    """
    if entry.packaged is None:
        published = ", published" if entry.published else ""
        raise UsageError(
            f"{entry.name} has no packaged weights; set its weights to random{published}, {PLACES}"
        )
    return Path(str(resources.files("taco_kd") / "assets" / entry.packaged))
