"""Which files a folder or repository of transformers' holds its weights in: whole, in shards, or pickled.

Nothing here needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from taco_kd.errors import DataError
from taco_kd.files import read_json

CONFIGS = ("config.json", "preprocessor_config.json")
INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
PICKLE = "pytorch_model.bin"


def is_complete(folder: Path) -> bool:
    """Whether ``folder`` holds config.json and the weights it promises, every shard of them."""
    if not (folder / "config.json").is_file():
        return False
    if (folder / WHOLE).is_file() or (folder / PICKLE).is_file():
        return True
    return (folder / INDEX).is_file() and all((folder / shard).is_file() for shard in shards(folder / INDEX))


def shards(index: Path) -> list[str]:
    """File names of the shards that an index of a sharded checkpoint names, in order."""
    found = read_json(index)
    mapping = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(mapping, dict) or not mapping:
        raise DataError(f"{index}: names no shards (no weight_map); download the repository again")
    names = sorted(set(mapping.values()))
    if not all(isinstance(n, str) and Path(n).name == n for n in names):
        raise DataError(f"{index}: names a shard outside its own folder")
    return names


def needed_files(files: Iterable[str]) -> list[str]:
    """Of the files of a repository those that a model is made of; none where there are no weights."""
    held = list(files)
    configs = [file for file in CONFIGS if file in held]
    if WHOLE in held:
        return [*configs, WHOLE]
    if INDEX in held:
        return [*configs, INDEX, *(f for f in held if re.fullmatch(r"model-\d+-of-\d+\.safetensors", f))]
    return [*configs, PICKLE] if PICKLE in held else []
