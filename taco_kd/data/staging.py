"""A folder that is whole or not there: built beside its place and renamed at the end.

A process that is killed leaves its workshop, a hidden folder beside the place. The next one clears it away
(``recover``); a lock on the folder, which dies with its process, tells such leftovers from work in progress.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taco_kd.disk import lock_folder, locked_new_folder
from taco_kd.errors import UsageError

_MARK, _NEW, _OLD = ".partial-", "new", "old"


@contextmanager
def folder_that_becomes(out: Path) -> Iterator[Path]:
    """A new, empty folder that takes the place of ``out`` if the block ends well, and else disappears.

    What was at ``out`` stays until then, and comes back if the exchange itself fails.

    Raises:
        UsageError: nothing can be written beside ``out``.
    """
    recover(out)
    out = out.resolve()  # a link's target may lie on another disk, to which nothing can be renamed
    made = [folder for folder in out.parents if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        workshop, lock = locked_new_folder(out.parent, prefix=f".{out.name}{_MARK}")
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    try:
        new = workshop / _NEW  # a folder of its own, since mkdtemp lets nobody else read its folder
        new.mkdir()
        yield new
        _exchange(new, out, aside=workshop / _OLD)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()  # only where nothing came to lie in it


def recover(out: Path) -> None:
    """Clear away what killed processes left beside ``out``; what they were replacing comes back first.

    Workshops of processes that still run are left alone.
    """
    out = out.resolve()
    for workshop in sorted(out.parent.glob(f".{glob.escape(out.name)}{_MARK}*")):
        try:
            lock = lock_folder(workshop)
        except OSError:  # in use, or just gone
            continue
        if lock is None:
            continue
        try:
            if {path.name for path in workshop.iterdir()} - {_NEW, _OLD}:
                continue  # a folder of somebody else's with such a name
            if (workshop / _OLD).is_dir() and not out.exists():  # killed between the two renames
                (workshop / _OLD).rename(out)
            shutil.rmtree(workshop, ignore_errors=True)
        finally:
            os.close(lock)


def _exchange(new: Path, place: Path, *, aside: Path) -> None:
    if not place.exists():
        new.rename(place)
        return
    place.rename(aside)
    try:
        new.rename(place)
    except BaseException:
        aside.rename(place)
        raise
