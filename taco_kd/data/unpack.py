"""A zip of a dataset that is on the disk already: its annotation file and images, and nothing else."""

from __future__ import annotations

import shutil
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, LargeZipFile, ZipFile, ZipInfo

from taco_kd.data.audit_document import stays_inside
from taco_kd.data.audit_pixels import IMAGE_SUFFIXES
from taco_kd.data.taco import ANNOTATIONS
from taco_kd.errors import DataError, UsageError
from taco_kd.files import replacing
from taco_kd.progress import Tick

LARGEST_RATIO = 100
"""JPEGs and JSON shrink by far less; beyond this, and over a megabyte, an entry is taken for a bomb."""
_BOMB_FROM_BYTES = 1_000_000
_KEPT_SUFFIXES = IMAGE_SUFFIXES | {".json"}


@dataclass(frozen=True)
class Unpacked:
    """What came out: ``unpacked`` files written, ``present`` there already, ``left_out`` of no use here."""

    out: Path
    unpacked: int
    present: int
    left_out: int


def unpack(archive: Path, out: Path, *, on_progress: Tick | None = None) -> Unpacked:
    """Unpack the folder of ``archive`` that holds ``annotations.json`` into ``out``.

    Every name is checked before anything is written. A second run writes what is missing or damaged.

    Raises:
        DataError: no zip, a damaged one, one without an annotation file, names that leave their folder,
            links, passwords, or entries that would fill the disk.
        UsageError: ``out`` cannot be written.
    """
    try:
        with ZipFile(archive) as opened:
            chosen, left_out = _entries(opened, archive)
            needed = sum(info.file_size for info, _ in chosen)
            out.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(out).free
            if needed > free:
                raise DataError(
                    f"{archive}: needs {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free in {out}"
                )
            written = 0
            for number, (info, name) in enumerate(chosen, start=1):
                written += _write(opened, info, out / name)
                if on_progress is not None:
                    on_progress(number, len(chosen), "unpacking")
    except FileNotFoundError:
        raise DataError(f"{archive}: no such file") from None
    except (BadZipFile, LargeZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive}: not a zip that can be unpacked ({error})") from None
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    return Unpacked(out, written, len(chosen) - written, left_out)


def _entries(opened: ZipFile, archive: Path) -> tuple[list[tuple[ZipInfo, str]], int]:
    """The files to unpack, with their names below the annotation file's folder, and how many are not."""
    infos = [info for info in opened.infolist() if not info.is_dir()]
    for info in infos:
        _refuse_traps(info, archive)
    homes = [PurePosixPath(i.filename).parent for i in infos if PurePosixPath(i.filename).name == ANNOTATIONS]
    if not homes:
        raise DataError(f"{archive}: holds no {ANNOTATIONS}; this is not a zip of TACO")
    home = min(homes, key=lambda folder: (len(folder.parts), str(folder)))
    chosen: dict[str, ZipInfo] = {}
    for info in infos:
        path = PurePosixPath(info.filename)
        if (
            path.is_relative_to(home)
            and path.suffix.lower() in _KEPT_SUFFIXES
            and "__MACOSX" not in path.parts
        ):
            name = str(path.relative_to(home))
            if name in chosen:
                raise DataError(f"{archive}: holds two files named {info.filename!r}")
            chosen[name] = info
    return [(info, name) for name, info in chosen.items()], len(infos) - len(chosen)


def _refuse_traps(info: ZipInfo, archive: Path) -> None:
    name = info.filename
    if not stays_inside(name) or ".." in PurePosixPath(name).parts or "\\" in name:
        raise DataError(f"{archive}: entry {name!r} would leave the folder; nothing was unpacked")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DataError(f"{archive}: entry {name!r} is a link; nothing was unpacked")
    if info.flag_bits & 1:
        raise DataError(f"{archive}: entry {name!r} needs a password; unpack it by hand")
    if info.file_size > _BOMB_FROM_BYTES and info.file_size > LARGEST_RATIO * max(info.compress_size, 1):
        raise DataError(
            f"{archive}: entry {name!r} grows {LARGEST_RATIO} times and more; nothing was unpacked"
        )


def _write(opened: ZipFile, info: ZipInfo, target: Path) -> bool:
    """Write one entry; False: it is there already, whole."""
    if target.is_file() and target.stat().st_size == info.file_size and _crc(target) == info.CRC:
        return False
    with replacing(target) as aside, opened.open(info) as source, aside.open("wb") as stream:
        shutil.copyfileobj(source, stream, 1 << 20)  # checks the CRC at the end
    return True


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc
