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
from taco_kd.models.checkpoint_files import WHOLE, is_complete, needed_files

TIMEOUT_S = 10.0
"""for one answer of the hub: a machine without network must not hang"""

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
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
    )

    try:
        with _quiet():
            info = HfApi().model_info(name.repo, revision=name.revision, timeout=TIMEOUT_S)
            commit = str(info.sha)
            folder = Path()
            needed = needed_files(s.rfilename for s in info.siblings or [])
            if not needed:
                raise MissingResourceError(
                    f"{name}: the repository holds no {WHOLE}, so {wanted_by} cannot use it"
                )
            for file in needed:
                path = hf_hub_download(name.repo, file, revision=commit, etag_timeout=TIMEOUT_S)
                folder = Path(path).parent
    except GatedRepoError:
        raise MissingResourceError(
            f"{name}: its owner lets in only who accepted the licence: do so on https://huggingface.co/"
            f"{name.repo}, then `hf auth login`, then the same command again"
        ) from None
    except RepositoryNotFoundError:
        raise MissingResourceError(
            f"{name}: no such folder or file here, and the hub has no such repository (or it is private)"
        ) from None
    except HFValidationError:
        raise UsageError(f"{name}: no such folder or file here, and no name of a hub repository") from None
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
    roots = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(roots & {"httpx", "httpx2", "httpcore", "requests"})


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
