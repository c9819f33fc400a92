"""Weights of a hub: this machine's cache first, then the network, and one clear line when neither has them.

Nothing here needs torch, so that ``taco-kd list models`` can say what is on this machine.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from taco_kd.errors import MissingResourceError, UsageError

TIMEOUT_S = 10.0
"""for one answer of the hub: a machine without network must not hang"""

CONFIGS = ("config.json", "preprocessor_config.json")
INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
PICKLE = "pytorch_model.bin"

_NAME = re.compile(r"^(?:hub:)?([A-Za-z0-9][\w.-]*/[\w.-]+?)(?:@([\w./-]+))?$")


class HasWeights(Protocol):
    """What ``weights_status`` reads of an entry of the zoo."""

    @property
    def name(self) -> str: ...
    @property
    def published(self) -> Any: ...


@dataclass(frozen=True)
class HubName:
    """A repository and the revision wanted: a commit, a tag or a branch."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


@dataclass(frozen=True)
class Snapshot:
    """Files of one repository on this machine, and the commit they are of."""

    name: HubName
    folder: Path
    commit: str


def parse(word: str) -> HubName | None:
    """``word`` as a hub name: OWNER/REPO, OWNER/REPO@REVISION, with or without ``hub:`` before it.

    >>> parse("hub:PekingU/rtdetr_v2_r50vd@0123abc")
    HubName(repo='PekingU/rtdetr_v2_r50vd', revision='0123abc')
    >>> parse("/tmp/x"), parse("a/b/c"), parse("random")
    (None, None, None)

    Raises:
        UsageError: it begins with ``hub:`` and is no such name.
    """
    found = _NAME.match(word)
    if found is None:
        if word.startswith("hub:"):
            raise UsageError(f"{word}: a hub name is written hub:OWNER/REPO or hub:OWNER/REPO@REVISION")
        return None
    return HubName(found[1], found[2])


def cached(name: HubName) -> Snapshot | None:
    """The repository's files in the local cache, if all that are needed are there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name.repo, revision=name.revision, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        return None
    if not is_complete(folder):
        return None
    return Snapshot(name, folder, folder.name)


def is_complete(folder: Path) -> bool:
    """Whether ``folder`` holds config.json and the weights it promises, every shard of them."""
    if not (folder / "config.json").is_file():
        return False
    if (folder / WHOLE).is_file() or (folder / PICKLE).is_file():
        return True
    return (folder / INDEX).is_file() and all((folder / shard).is_file() for shard in shards(folder / INDEX))


def shards(index: Path) -> list[str]:
    """File names of the shards that an index of a sharded checkpoint names, in order."""
    from taco_kd.errors import DataError
    from taco_kd.files import read_json

    found = read_json(index)
    mapping = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(mapping, dict) or not mapping:
        raise DataError(f"{index}: names no shards (no weight_map); download the repository again")
    names = sorted(set(mapping.values()))
    if not all(isinstance(n, str) and Path(n).name == n for n in names):
        raise DataError(f"{index}: names a shard outside its own folder")
    return names


def fetch(name: HubName, *, wanted_by: str = "--weights") -> Snapshot:
    """The repository's config and weights: from the cache, else downloaded into it.

    Raises:
        MissingResourceError: neither is possible; the line says what to fetch and where to put it.
    """
    found = cached(name)
    if found is not None:
        return found
    if _offline():
        raise MissingResourceError(
            _advice(name, "is not on this machine and HF_HUB_OFFLINE is set", wanted_by)
        )
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        with _quiet():
            info = HfApi().model_info(name.repo, revision=name.revision, timeout=TIMEOUT_S)
            commit = str(info.sha)
            folder = Path()
            for file in _needed([s.rfilename for s in info.siblings or []], name, wanted_by):
                path = hf_hub_download(name.repo, file, revision=commit, etag_timeout=TIMEOUT_S)
                folder = Path(path).parent
    except GatedRepoError:
        raise MissingResourceError(
            f"{name}: its owner lets in only who accepted the licence: do so on https://huggingface.co/"
            f"{name.repo}, then `hf auth login`, then the same command again"
        ) from None
    except RepositoryNotFoundError:
        raise MissingResourceError(
            f"{name}: no such folder or file here, and the hub has no such repository"
        ) from None
    except HfHubHTTPError as error:
        reason = f"the hub answered {getattr(error.response, 'status_code', 'with an error')}"
        raise MissingResourceError(_advice(name, f"cannot be fetched: {reason}", wanted_by)) from None
    except Exception as error:  # whatever the transport raises when there is no network
        if not _is_transport(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        line = f"is not on this machine and the hub cannot be reached ({reason})"
        raise MissingResourceError(_advice(name, line, wanted_by)) from None
    return Snapshot(name, folder, commit)


def _needed(files: list[str], name: HubName, wanted_by: str) -> list[str]:
    configs = [file for file in CONFIGS if file in files]
    if WHOLE in files:
        return [*configs, WHOLE]
    if INDEX in files:
        return [*configs, INDEX, *(f for f in files if re.fullmatch(r"model-\d+-of-\d+\.safetensors", f))]
    if PICKLE in files:
        return [*configs, PICKLE]
    raise MissingResourceError(f"{name}: the repository holds no {WHOLE}, so {wanted_by} cannot use it")


def _advice(name: HubName, why: str, wanted_by: str) -> str:
    revision = f" --revision {name.revision}" if name.revision else ""
    folder = name.repo.split("/")[1]
    return (
        f"{name}: {why}. Where there is a network: `hf download {name.repo}{revision} config.json "
        f"preprocessor_config.json {WHOLE} --local-dir {folder}`, copy that folder here and give "
        f"{wanted_by} {folder}"
    )


def weights_status(entry: HasWeights) -> str:
    """In words, for a table: where the weights of this entry are, or how to get them."""
    packaged = getattr(entry, "packaged", None)
    if packaged is not None and (Path(str(resources.files("taco_kd"))) / "assets" / packaged).is_file():
        return "packaged"
    if entry.published is None:
        return "none"
    name = HubName(entry.published.repo, entry.published.revision)
    found = cached(name)
    if found is not None:
        return f"published, in {found.folder}"
    return f"published, not here: hf download {name.repo} --revision {name.revision}"


def _offline() -> bool:
    return any(
        os.environ.get(key, "").upper() in ("1", "ON", "YES", "TRUE")
        for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def _is_transport(error: Exception) -> bool:
    """Whether an error came from the network and not from a fault of ours."""
    if isinstance(error, OSError):
        return True
    transports = ("httpx", "httpcore", "requests")  # huggingface_hub 1.x has an httpx2 of its own
    return any(kind.__module__.startswith(transports) for kind in type(error).__mro__)


@contextmanager
def _quiet() -> Iterator[None]:
    """The library's own lines about retries and rate limits are not ours to print."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
