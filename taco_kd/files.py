"""Files that are either whole or not there: atomic writes, hashes, readable errors."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from taco_kd.disk import lock_folder, locked_new_folder, room_for, sync_folder
from taco_kd.errors import DataError

_OLD_SECONDS = 86400
_ASIDE = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")


@contextlib.contextmanager
def replacing(
    path: Path, *, needs_bytes: int | None = None, named: Callable[[Path], str] | None = None
) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when the block ends without an error.

    The file is fsynced before the rename and its folder after it, so a crash or a power cut leaves the old
    file or the new one, never a half.

    Args:
        needs_bytes: how large the file will be, if known; said where there is no room for it.
        named: from the finished temporary file to the name it is to have instead of that of ``path``.

    Raises:
        DiskFullError: there is no room for it; the old file is still there.
    """
    with room_for(path, needs_bytes):
        path.parent.mkdir(parents=True, exist_ok=True)
        # in a folder, since a file is not one file: safetensors writes another and renames it
        folder, held = locked_new_folder(path.parent, prefix=f".{path.name}.", suffix=".tmp")
        aside = folder / path.name
        try:
            yield aside
            with aside.open("rb") as written:
                os.fsync(written.fileno())
            umask = os.umask(0)
            os.umask(umask)
            aside.chmod(0o666 & ~umask)
            aside.replace(path if named is None else path.with_name(named(aside)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if held is not None:
                os.close(held)
        sync_folder(path.parent)


def written_aside(path: Path) -> str | None:
    """Name of the file that ``replacing`` writes in ``path``, and killed ones leave; None for other paths."""
    found = _ASIDE.fullmatch(path.name)
    return found[1] if found and path.is_dir() else None


def sweep(folder: Path) -> None:
    """Remove what killed processes were writing with ``replacing`` directly in ``folder``.

    Where there are no locks, only what is older than a day: it might be in work.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if written_aside(path) is None:
            continue
        with contextlib.suppress(OSError):  # in work, just finished, or not ours to remove
            held = lock_folder(path)
            if held is not None or time.time() - path.stat().st_mtime > _OLD_SECONDS:
                shutil.rmtree(path)
            if held is not None:
                os.close(held)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8."""
    encoded = text.encode("utf-8")
    with replacing(path, needs_bytes=len(encoded)) as aside:
        aside.write_bytes(encoded)


def write_json(path: Path, value: object, *, indent: int | None = 1) -> None:
    """Write ``value`` as JSON to ``path`` atomically."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in ``path``.

    Raises:
        DataError: the file is missing, unreadable or not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON (line {error.lineno}: {error.msg})") from None
    except ValueError as error:  # an integer of thousands of digits
        raise DataError(f"{path}: not usable JSON ({error})") from None
    except RecursionError:
        raise DataError(f"{path}: not usable JSON (nested too deeply)") from None


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """Hex sha256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
