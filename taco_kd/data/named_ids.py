"""``--ids``: the images of val by image id or file name, from a shipped list or a text file."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path, PurePosixPath

from taco_kd.data.records import ImageRecord
from taco_kd.errors import DataError, UsageError, one_of

SPLITS = ("taco-paper-225",)


def named_lines(name: str) -> tuple[str, ...]:
    """The entries of a shipped list or of a text file: one a line, comments after ``#``.

    Raises:
        UsageError: neither a shipped list nor a file.
        DataError: the file is not text, or names nothing.
    """
    if name in SPLITS:
        file = resources.files("taco_kd") / "data" / "splits" / f"{name}.txt"
        text = file.read_text(encoding="utf-8")
    else:
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"{one_of('split', name, SPLITS)}, or a text file with an image id a line")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    lines = tuple(line for raw in text.splitlines() if (line := raw.partition("#")[0].strip()))
    if not lines:
        raise DataError(f"{name}: names no image; write an image id or a file name a line")
    return lines


def named_ids(name: str, images: Sequence[ImageRecord]) -> frozenset[int]:
    """Ids of the images that the list names: by the file name in the source, else by id, else by stem.

    Raises:
        UsageError, DataError: see ``named_lines``; an entry that is no image of the dataset, or two of them.
    """
    by_name = {image.file_name: image.id for image in images}
    by_id = {str(image.id): image.id for image in images}
    by_stem: dict[str, list[int]] = {}
    for image in images:
        path = PurePosixPath(image.file_name)
        for key in {path.name, path.stem}:
            by_stem.setdefault(key, []).append(image.id)
    found, unknown = set(), []
    for line in named_lines(name):
        choices = [by_name[line]] if line in by_name else []
        choices = choices or ([by_id[line]] if line in by_id else by_stem.get(line, []))
        if len(choices) > 1:
            raise DataError(f"{name}: {line!r} names {len(choices)} images; write the path of one")
        if choices:
            found.add(choices[0])
        else:
            unknown.append(line)
    if unknown:
        count = f"{len(unknown)} of its {len(unknown) + len(found)} images are not in the dataset"
        raise DataError(f"{name}: {count}, the first {unknown[0]!r}; complete the dataset or the list")
    return frozenset(found)
