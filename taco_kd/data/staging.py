"""A folder that is whole or not there: built beside its place and renamed at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.partial-"))
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    try:
        yield partial
        partial.chmod(out.parent.stat().st_mode & 0o777)  # mkdtemp keeps everybody else out
        _exchange(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _exchange(new: Path, place: Path) -> None:
    if not place.exists():
        new.rename(place)
        return
    old = new.with_name(f"{new.name}-old")
    place.rename(old)
    try:
        new.rename(place)
    except BaseException:
        old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)
