"""Where weights come from: one word of the user's (packaged, published, a path, a hub name) to tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

from taco_kd.errors import DataError, MissingResourceError, UsageError
from taco_kd.files import sha256_file
from taco_kd.models import hub
from taco_kd.models.entry import FeatureEntry, ModelEntry
from taco_kd.models.hf_folder import is_hf_folder, read_hf_folder
from taco_kd.models.stored import OURS, Stored, blueprint_of_ours, classes_of_ours
from taco_kd.models.ultralytics_files import holds_a_model, read_onnx_file, read_pickled_file
from taco_kd.models.weight_files import read_pytorch, read_safetensors, read_shards
from taco_kd.runs import RunDir

WORDS = (
    "packaged, published, random, a run folder, a transformers folder, a .safetensors, .pth, .pt or "
    ".onnx file, or a hub name (OWNER/REPO@REVISION)"
)
"""the sources there are, for help and messages"""

Reader = Callable[[Path], Stored]


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
    return _reader(found, families)(found)


def locate(word: str, *, families: Mapping[str, str], wanted_by: str = "--weights") -> None:
    """Make sure that ``read`` will find something here, without reading it; raises as ``read`` does."""
    found = _place(word, wanted_by)
    if isinstance(found, hub.HubName):
        hub.fetch(found, wanted_by=wanted_by)
    else:
        _reader(found, families)


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
    return Stored(
        f"{name.repo}@{snapshot.commit[:12]}",
        stored.kind,
        stored.state,
        stored.classes,
        stored.blueprint,
        origin,
    )


def read_packaged(entry: ModelEntry) -> Stored:
    """Weights that ship with the package; UsageError where this model has none."""
    stored = read_safetensors_file(packaged_file(entry))
    return Stored(
        f"{entry.name} packaged weights",
        stored.kind,
        stored.state,
        stored.classes,
        stored.blueprint,
        stored.origin,
    )


def packaged_file(entry: ModelEntry) -> Path:
    """The file of the weights that ship with the package.

    Raises:
        UsageError: this model has none.
    """
    if entry.packaged is None:
        published = ", published" if entry.published else ""
        raise UsageError(
            f"{entry.name} has no packaged weights; set its weights to random{published}, a run folder, "
            "a transformers folder, a .safetensors, .pth, .pt or .onnx file, or a hub name"
        )
    return Path(str(resources.files("taco_kd") / "assets" / entry.packaged))


def read_safetensors_file(path: Path) -> Stored:
    """A .safetensors file, ours or somebody else's."""
    state, metadata = read_safetensors(path)
    origin = {"path": str(path.resolve()), "sha256": sha256_file(path)}
    if not metadata.get("format", "").startswith("taco-kd/") and "class_names" not in metadata:
        return Stored(str(path), "safetensors of another program", state, origin=origin)
    return Stored(
        str(path),
        OURS,
        state,
        classes_of_ours(metadata, path),
        blueprint_of_ours(metadata, path),
        {**origin, "model": metadata.get("model", "")},
    )


def read_pytorch_file(path: Path) -> Stored:
    """A checkpoint of PyTorch's; the moving average of a training program is preferred."""
    state, inside = read_pytorch(path)
    remarks = (f"read {inside!r} of the checkpoint",) if inside else ()
    origin = {"path": str(path.resolve()), "sha256": sha256_file(path)}
    return Stored(str(path), "PyTorch checkpoint", state, origin=origin, remarks=remarks)


def read_pt_file(path: Path) -> Stored:
    """A .pt file: tensors alone, or one of Ultralytics', which is a whole model."""
    return read_pickled_file(path) if holds_a_model(path) else read_pytorch_file(path)


def peek_model(path: Path) -> str | None:
    """The model that a file or run folder of ours holds, by its header alone; None where it does not say."""
    from safetensors import SafetensorError, safe_open

    file = RunDir(path).model_file if path.is_dir() else path
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    try:
        with safe_open(str(file), framework="pt") as stored:
            metadata = stored.metadata() or {}
    except (SafetensorError, OSError):
        return None
    return metadata.get("model") if "class_names" in metadata else None


READERS: dict[str, Reader] = {
    ".safetensors": read_safetensors_file,
    ".pth": read_pytorch_file,
    ".pt": read_pt_file,
    ".bin": read_pytorch_file,
    ".onnx": read_onnx_file,
}
"""which function reads a file, by its suffix"""


def _reader(path: Path, families: Mapping[str, str]) -> Reader:
    """What reads this file or folder.

    Raises:
        DataError: nothing does.
    """
    if path.is_file():
        if path.name == hub.INDEX:
            return _read_index
        if path.suffix not in READERS:
            raise DataError(f"{path}: weights are read from {', '.join(READERS)} files and folders")
        return READERS[path.suffix]
    run = RunDir(path)
    if run.record_file.is_file():
        if not run.model_file.is_file():
            raise DataError(f"{path}: this run is not finished; go on: taco-kd train --resume {path}")
        return lambda folder: read_safetensors_file(RunDir(folder).model_file)
    if is_hf_folder(path):
        return lambda folder: read_hf_folder(folder, families)
    if (path / hub.INDEX).is_file():
        return lambda folder: _read_index(folder / hub.INDEX)
    raise DataError(
        f"{path}: holds no weights: not a run folder (no run.json) and not a transformers folder "
        "(no config.json)"
    )


def _read_index(index: Path) -> Stored:
    return Stored(str(index), "safetensors shards", read_shards(index), origin={"path": str(index.resolve())})
