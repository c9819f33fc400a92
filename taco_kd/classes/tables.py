"""Tables that say which class of one label space is which class of another: shipped ones, and the user's."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from taco_kd.classes.spaces import plain
from taco_kd.errors import DataError, UsageError, one_of

TABLES = ("coco-to-taco", "taco-60-to-taco-10", "taco-60-to-taco-28")


@dataclass(frozen=True)
class Row:
    """One line of a table: the class called ``source`` in one space may be ``target`` in the other."""

    source: str
    target: str
    line: int
    why: str = ""


@dataclass(frozen=True)
class Table:
    """Rows from one label space to another, and where they were read."""

    name: str
    rows: tuple[Row, ...]


def read_table(name: str) -> Table:
    """A shipped table by name, or the user's CSV file with the columns ``from`` and ``to``.

    Lines that begin with ``#`` are comments; a column ``why`` may give reasons, and others are not read.

    Raises:
        UsageError: neither a shipped table nor a file.
        DataError: the file is not such a CSV; names the line.
    """
    if name in TABLES:
        file = resources.files("taco_kd") / "classes" / "data" / f"{name}.csv"
        return _parse(name, file.read_text(encoding="utf-8"))
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"{one_of('class table', name, TABLES)}, or a CSV file with the columns from,to")
    try:
        return _parse(str(path), path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def _parse(name: str, text: str) -> Table:
    numbered = [(n, line) for n, line in enumerate(text.splitlines(), start=1)]
    kept = [(n, line) for n, line in numbered if line.strip() and not line.lstrip().startswith("#")]
    if not kept:
        raise DataError(f"{name}: holds no row; write a header from,to and one pair of class names a line")
    header = [cell.strip() for cell in next(csv.reader([kept[0][1]]))]
    if "from" not in header or "to" not in header:
        raise DataError(f"{name}:{kept[0][0]}: the header is {','.join(header)!r}; it must name from and to")
    source, target = header.index("from"), header.index("to")
    why = header.index("why") if "why" in header else len(header)
    rows = []
    for number, line in kept[1:]:
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if len(cells) <= max(source, target) or not cells[source] or not cells[target]:
            raise DataError(f"{name}:{number}: {line.strip()!r} does not name two classes")
        reason = cells[why] if why < len(cells) else ""
        rows.append(Row(cells[source], cells[target], number, reason))
    if not rows:
        raise DataError(f"{name}: holds no row below its header")
    return Table(name, tuple(rows))


def resolve(table: Table, sources: Sequence[str], targets: Sequence[str]) -> list[tuple[int, int]]:
    """The rows as pairs of indices into two label spaces.

    Rows of a shipped table that name a class outside the two spaces are left out: the table covers more.
    A row of the user's must name classes that exist: a slip of the pen must not go unseen.

    Raises:
        UsageError: an unknown name in a table of the user's; names the line and the nearest valid name.
    """
    pairs = []
    for row in table.rows:
        i, j = _find(row.source, sources), _find(row.target, targets)
        if i is not None and j is not None:
            if (i, j) not in pairs:
                pairs.append((i, j))
        elif table.name not in TABLES:
            side, name, names = ("from", row.source, sources) if i is None else ("to", row.target, targets)
            raise UsageError(f"{table.name}:{row.line}: {side} = {name!r} is no class{_nearest(name, names)}")
    return pairs


def _find(name: str, names: Sequence[str]) -> int | None:
    if name in names:
        return list(names).index(name)
    same = [i for i, other in enumerate(names) if plain(other) == plain(name)]
    return same[0] if len(same) == 1 else None


def _nearest(name: str, names: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(plain(name), [plain(n) for n in names], n=1)
    if near:
        known = next(n for n in names if plain(n) == near[0])
        return f"; did you mean {known!r}?"
    return f" of {', '.join(names[:5])}" + (" …" if len(names) > 5 else "")
