"""A folder that is whole or not there: built beside its place and renamed at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taco_kd.errors import UsageError


@contextmanager
def folder_that_becomes(out: Path) -> Iterator[Path]:
    """A new, empty folder that takes the place of ``out`` if the block ends well, and else disappears.

    What was at ``out`` stays until then, and comes back if the exchange itself fails.

    Raises:
        UsageError: nothing can be written beside ``out``.
    """
    out = out.resolve()  # a link's target may lie on another disk, to which nothing can be renamed
    made = [folder for folder in out.parents if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.partial-"))
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    try:
        new = workshop / "new"  # a folder of its own, since mkdtemp lets nobody else read its folder
        new.mkdir()
        yield new
        _exchange(new, out, aside=workshop / "old")
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()  # only where nothing came to lie in it


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
