"""What a disk can do: locks, room for what is written, and names that survive a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from taco_kd.errors import DiskFullError

if sys.platform != "win32":
    import fcntl

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ROOM_IN_RUST = re.compile(r"os error (28|122|27|112)\b")  # what safetensors says; 112 is Windows


@contextlib.contextmanager
def room_for(path: Path, needs_bytes: int | None = None) -> Iterator[None]:
    """Inside, an error that says that the disk or the quota is full becomes one line about ``path``."""
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:  # safetensors has an exception of its own for this
        known = isinstance(error, OSError) and error.errno in _NO_ROOM
        if not known and not _NO_ROOM_IN_RUST.search(str(error)):
            raise
        free = _free_bytes(path.parent)
        needs = "" if needs_bytes is None else f"it needs {size(needs_bytes)} and "
        raise DiskFullError(
            f"{path}: no room on the disk ({needs}{size(free)} are free); make room and run it again"
        ) from None


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` survive a power cut, where the system can do that."""
    with contextlib.suppress(OSError):  # Windows opens no folders; some network disks do not sync them
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def lock_folder(folder: Path) -> int | None:
    """A descriptor that holds a lock on ``folder`` until it is closed; None where locks do not exist.

    Raises:
        OSError: another process holds it, or the folder is gone.
    """
    if sys.platform == "win32":  # cannot open a folder
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        locked = lock(handle)
    except OSError:
        os.close(handle)
        raise
    if locked:
        return handle
    os.close(handle)
    return None


def locked_new_folder(parent: Path, *, prefix: str, suffix: str = "") -> tuple[Path, int | None]:
    """A new folder in ``parent`` with a name of its own, and a descriptor that holds its lock until closed.

    The lock tells whoever sweeps away what killed processes left that this one is in work; None where locks
    do not exist.
    """
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix, suffix=suffix))
        try:
            held = lock_folder(folder)
        except OSError:  # taken for a leftover in the moment before it was locked
            continue
        if folder.is_dir():
            return folder, held
        if held is not None:
            os.close(held)


def lock(handle: int) -> bool:
    """Lock an open file or folder; False where locks do not exist.

    Raises:
        BlockingIOError: another process holds it.
    """
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a network disk without locks
        return False
    return True


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def size(count: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
