"""Which class of a detector can be a thing of which folder: the stated judgement behind the audit.

Everything is matched by name, never by index; case, surrounding blanks and ``_`` or ``-`` for a blank do not
count.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum
from importlib import resources
from pathlib import Path

from taco_kd.errors import DataError
from taco_kd.evaluate.classes import same_name

DETECTOR_COLUMN, WHY_COLUMN = "detector_class", "why"


class Verdict(Enum):
    """Can a box that the detector gave this class be a thing of that folder?"""

    COMPATIBLE = "compatible"
    MISMATCH = "mismatch"
    UNKNOWN = "unknown"
    """nobody can tell from the names; such a box is counted neither way"""


_CELLS = {"yes": Verdict.COMPATIBLE, "no": Verdict.MISMATCH, "?": Verdict.UNKNOWN}


@dataclass(frozen=True)
class Compatibility:
    """The table: a verdict for each (folder class, detector class) somebody has thought about."""

    verdicts: Mapping[tuple[str, str], Verdict]
    source: str
    own_folders: tuple[str, ...] = ()
    """columns of the user's file, as written there"""
    own_classes: tuple[str, ...] = ()
    """rows of the user's file"""

    def judge(self, folder: str, detector_class: str, vocabulary: Collection[str]) -> Verdict:
        """Verdict on a box in ``folder`` that the detector calls ``detector_class``.

        1. The same name: compatible.
        2. What the table says.
        3. A detector whose ``vocabulary`` has the folder's class, and that said another one, contradicts it.
        4. Else unknown.
        """
        key = (same_name(folder), same_name(detector_class))
        if key[0] == key[1]:
            return Verdict.COMPATIBLE
        if key in self.verdicts:
            return self.verdicts[key]
        if key[0] in {same_name(name) for name in vocabulary}:
            return Verdict.MISMATCH
        return Verdict.UNKNOWN

    def never(self, detector_class: str) -> bool:
        """The table says no for every folder: a person, an animal, a car."""
        name = same_name(detector_class)
        said = {verdict for (_, row), verdict in self.verdicts.items() if row == name}
        return said == {Verdict.MISMATCH}

    def strangers(self, folders: Collection[str], vocabulary: Collection[str]) -> list[str]:
        """Lines about names in the user's file that no folder or no detector class has: slips, mostly."""
        lines = []
        for kind, names, known in (
            ("column", self.own_folders, folders),
            ("detector_class", self.own_classes, vocabulary),
        ):
            for name in names:
                near = get_close_matches(same_name(name), [same_name(k) for k in known], n=1)
                if same_name(name) not in {same_name(k) for k in known}:
                    what = "no folder" if kind == "column" else "no class of the detector"
                    hint = f"; did you mean {near[0]!r}?" if near else ""
                    lines.append(f"{self.source}: {kind} {name!r} is {what}{hint}")
        return lines

    def silent(self, folder: str, vocabulary: Collection[str]) -> bool:
        """Whether no box of that folder can be judged: it is no column, nor a class of the detector."""
        name = same_name(folder)
        return name not in {f for f, _ in self.verdicts} | {same_name(k) for k in vocabulary}


def load_compatibility(path: Path | None = None) -> Compatibility:
    """The packaged table (TrashNet's folders, COCO's and TACO's classes) and the user's CSV file over it.

    A row is a detector class, a column a folder class; a cell says ``yes``, ``no`` or ``?``. The column
    ``why`` is for people. Lines that start with ``#`` are comments. The user's cells go before the packaged.

    Raises:
        DataError: no such file, a missing column, a cell that is none of the three, a class twice.
    """
    text = (resources.files("taco_kd.autolabel") / "compatibility.csv").read_text(encoding="utf-8")
    packaged = _parse(text, "compatibility.csv")
    if path is None:
        return replace(packaged, own_folders=(), own_classes=())
    try:
        own = _parse(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DataError(f"{path}: cannot be read as a compatibility table ({reason})") from None
    return replace(own, verdicts={**packaged.verdicts, **own.verdicts})


def _parse(text: str, source: str) -> Compatibility:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = csv.DictReader(lines, skipinitialspace=True)
    header = [column.strip() for column in rows.fieldnames or ()]
    rows.fieldnames = header
    folders = [column for column in header if column not in {DETECTOR_COLUMN, WHY_COLUMN}]
    if DETECTOR_COLUMN not in header or not folders:
        raise DataError(
            f"{source}: needs a column {DETECTOR_COLUMN!r} and one column per folder class; it has "
            f"{', '.join(header) or 'none'}"
        )
    verdicts: dict[tuple[str, str], Verdict] = {}
    names: list[str] = []
    for row in rows:
        name = (row[DETECTOR_COLUMN] or "").strip()
        names.append(name)
        for folder in folders:
            cell, key = (row[folder] or "").strip().lower(), (same_name(folder), same_name(name))
            if cell not in _CELLS:
                raise DataError(f"{source}: {name!r} in {folder!r} is {cell!r}; write yes, no or ?")
            if key in verdicts:
                raise DataError(f"{source}: {name!r} in {folder!r} is given twice; keep one")
            verdicts[key] = _CELLS[cell]
    return Compatibility(verdicts, source, tuple(folders), tuple(names))
