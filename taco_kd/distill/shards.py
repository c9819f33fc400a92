"""Tensors on disk by key, in safetensors shards that are only ever added: what a teacher cache is made of.

Shards are written aside and renamed, and named by what they hold, so processes that fill one folder do not
disturb each other, and a process that is killed loses at most the shard it had not written yet. An entry is
checked against its hash before it is used; a shard in which one is damaged is thrown away.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from taco_kd.files import replacing, sweep
from taco_kd.progress import warn

Entry = Mapping[str, Tensor]

SHARD_ENTRIES = 256
SHARD_BYTES = 64 << 20
"""A shard is written when it holds this many entries or bytes."""
OPEN_SHARDS = 64
"""Memory-mapped at the same time; the one not used for longest is closed."""


class ShardStore:
    """Entries of named tensors in ``folder``, which comes into being with the first shard.

    Args:
        folder: holds the shards of one space.
        space: hash of what all entries have in common; shards of another space are not looked into.
    """

    def __init__(self, folder: Path, space: str) -> None:
        self.folder, self.space = folder, space
        self.damaged = 0
        """shards that were there but could not be used"""
        self._where: dict[str, tuple[Path, str]] = {}  # key -> shard, digest of the entry
        self._seen: set[Path] = set()
        self._checked: set[str] = set()
        self._open: OrderedDict[Path, _Opened] = OrderedDict()
        self._pending: dict[str, Entry] = {}
        self._pending_bytes = 0
        self._folder_time = -1
        self._writable = True
        sweep(folder)
        self._look()

    def __len__(self) -> int:
        """Entries on disk."""
        return len(self._where)

    def get(self, key: str) -> Entry | None:
        """The entry, on the CPU; None where there is none, or none that is whole."""
        if (waiting := self._pending.get(key)) is not None:
            return waiting
        if key not in self._where:
            self._look()  # another process may have written it
        if (found := self._where.get(key)) is None:
            return None
        shard, digest = found
        try:
            entry = self._read(shard, key)
        except (OSError, SafetensorError) as error:
            self._drop(shard, error)
            return None
        if key not in self._checked and entry_digest(entry) != digest:
            self._drop(shard, f"entry {key[:12]} is not what was written")
            return None
        self._checked.add(key)
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep the entry; it is on disk after the next full shard or ``flush``."""
        if not self._writable or key in self._pending:
            return
        self._pending[key] = entry
        self._pending_bytes += entry_bytes(entry)
        if len(self._pending) >= SHARD_ENTRIES or self._pending_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting. A full or read-only disk is told once and only ends the writing."""
        if not self._pending:
            return
        digests = {key: entry_digest(entry) for key, entry in self._pending.items()}
        name = hashlib.sha256(json.dumps([self.space, digests], sort_keys=True).encode()).hexdigest()[:24]
        shard = self.folder / f"{name}.safetensors"
        tensors = {f"{key}/{part}": t for key, entry in self._pending.items() for part, t in entry.items()}
        try:
            with replacing(shard) as aside:
                save_file(tensors, aside, metadata={"space": self.space, "digests": json.dumps(digests)})
        except (OSError, SafetensorError) as error:
            self._writable = False
            warn(f"{self.folder}: teacher outputs are not stored any more ({error}); the run goes on without")
        else:
            self._learn(shard, digests)
            self._checked.update(digests)
        self._pending.clear()
        self._pending_bytes = 0

    def _look(self) -> None:
        """Read the headers of shards that appeared since the last look."""
        try:
            now = self.folder.stat().st_mtime_ns
        except OSError:
            return
        if now == self._folder_time:
            return
        self._folder_time = now
        for shard in sorted(self.folder.glob("*.safetensors")):
            if shard in self._seen:
                continue
            self._seen.add(shard)
            try:
                with safe_open(shard, "pt") as opened:
                    said = opened.metadata() or {}
                if said.get("space") == self.space:
                    self._learn(shard, json.loads(said["digests"]))
            except (OSError, SafetensorError, KeyError, ValueError) as error:
                self._drop(shard, error)

    def _learn(self, shard: Path, digests: Mapping[str, str]) -> None:
        self._seen.add(shard)
        for key, digest in digests.items():
            self._where.setdefault(key, (shard, digest))

    def _read(self, shard: Path, key: str) -> Entry:
        opened = self._open.pop(shard, None)
        if opened is None:
            opened = _Opened(shard)
        self._open[shard] = opened
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)
        return opened.entry(key)

    def _drop(self, shard: Path, why: object) -> None:
        """A shard with one fault is not trusted any more: it goes, and what it held is computed again."""
        self.damaged += 1
        warn(f"{shard}: damaged ({str(why).splitlines()[0]}); what it held is computed again")
        self._open.pop(shard, None)
        for key in [key for key, (holder, _) in self._where.items() if holder == shard]:
            del self._where[key]
            self._checked.discard(key)
        with contextlib.suppress(OSError):  # a folder that is not ours to write
            shard.unlink(missing_ok=True)
            self._seen.discard(shard)


class _Opened:
    """A memory-mapped shard; the mapping ends with the object."""

    def __init__(self, shard: Path) -> None:
        self._file = safe_open(shard, "pt")
        self._parts: dict[str, list[str]] = {}
        for name in self._file.keys():  # type: ignore[no-untyped-call]  # noqa: SIM118 - not a mapping
            key, _, part = name.partition("/")
            self._parts.setdefault(key, []).append(part)

    def entry(self, key: str) -> Entry:
        parts = self._parts.get(key)
        if parts is None:
            raise OSError(f"entry {key[:12]} is missing")
        return {
            part: self._file.get_tensor(f"{key}/{part}")  # type: ignore[no-untyped-call]
            for part in parts
        }


def entry_bytes(entry: Entry) -> int:
    """About what the entry takes in a shard: its tensors, and its lines in the header."""
    return sum(t.numel() * t.element_size() + 110 for t in entry.values()) + 75


def entry_digest(entry: Entry) -> str:
    """Hash of names, shapes, types and values."""
    digest = hashlib.sha256()
    for part, tensor in sorted(entry.items()):
        digest.update(f"{part} {tensor.dtype} {tuple(tensor.shape)};".encode())
        if tensor.numel():
            digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]
