"""Which class of a detector is which class of the dataset."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taco_kd.errors import DataError


@dataclass(frozen=True)
class ClassMatch:
    """How a detector's classes are read.

    Attributes:
        categories: for each class of the detector the id of the dataset's category; None for those it lacks.
        pairs: (detector's name, dataset's name) of those that are used.
        known: the dataset's classes that the detector knows, in the dataset's order.
        unknown: those that it does not know and can hence never find.
        left_out: the detector's classes that the dataset lacks; their boxes are not evaluated.
    """

    categories: tuple[int | None, ...]
    pairs: tuple[tuple[str, str], ...]
    known: tuple[str, ...]
    unknown: tuple[str, ...]
    left_out: tuple[str, ...]

    def line(self, name: str) -> str:
        """One line for the user."""
        total = len(self.known) + len(self.unknown)
        names = [
            theirs if theirs == ours else f"{theirs} as {ours}" for theirs, ours in self.pairs[:_NAMES_SHOWN]
        ]
        more = len(self.pairs) - len(names)
        shown = ", ".join(names) + (f" and {more} more" if more else "")
        text = f"{name} knows {len(self.known)} of the dataset's {total} classes: {shown}"
        if self.left_out:
            text += f"; left out: its other {_classes(len(self.left_out))}"
        if self.unknown:
            text += f"; counted as 0 in AP: the other {_classes(len(self.unknown))} of the dataset"
        return text


_NAMES_SHOWN = 6


def same_name(name: str) -> str:
    """The form in which names are compared.

    >>> same_name(" Wine_Glass ") == same_name("wine glass")
    True
    """
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def match_classes(
    detector: Sequence[str],
    dataset: Mapping[int, str],
    *,
    renamed: Mapping[str, str] | None = None,
    name: str = "the detector",
) -> ClassMatch:
    """Match by name, whatever the case, hyphens and underscores.

    Args:
        detector: names in the order of the detector's class ids.
        dataset: category id to name, in the dataset's order.
        renamed: the detector's name to the dataset's; goes before equal names.
        name: what to call the detector in an error.

    Raises:
        DataError: not one class is shared, or ``renamed`` has a name that neither side knows.
    """
    ids = {same_name(label): category for category, label in dataset.items()}
    theirs = {same_name(label) for label in detector}
    table: dict[str, str] = {}
    for of_detector, of_dataset in (renamed or {}).items():
        if same_name(of_detector) not in theirs:
            raise DataError(_unknown("class map", of_detector, name, detector))
        if same_name(of_dataset) not in ids:
            raise DataError(_unknown("class map", of_dataset, "the dataset", list(dataset.values())))
        table[same_name(of_detector)] = same_name(of_dataset)
    categories = tuple(ids.get(table.get(same_name(label), same_name(label))) for label in detector)
    used = {category for category in categories if category is not None}
    if not used:
        raise DataError(
            f"{name}: none of its {len(detector)} classes ({_some(detector)}) is a class of the dataset "
            f"({_some(list(dataset.values()))}); "
            "give --class-map FILE.csv with lines: its name,dataset's name"
        )
    return ClassMatch(
        categories=categories,
        pairs=tuple(
            (label, dataset[category])
            for label, category in zip(detector, categories, strict=True)
            if category is not None
        ),
        known=tuple(label for category, label in dataset.items() if category in used),
        unknown=tuple(label for category, label in dataset.items() if category not in used),
        left_out=tuple(
            label for label, category in zip(detector, categories, strict=True) if category is None
        ),
    )


def read_class_map(path: Path) -> dict[str, str]:
    """A CSV file with two columns, the detector's name and the dataset's, as a dictionary.

    Empty lines, lines that start with ``#`` and a first line ``detector,dataset`` are passed over.

    Raises:
        DataError: no such file, not text, another number of columns, a name twice, or nothing in it.
    """
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV text ({error})") from None
    found: dict[str, str] = {}
    for number, cells in enumerate(lines, start=1):
        row = [cell.strip() for cell in cells]
        header = number == 1 and [cell.casefold() for cell in row] == ["detector", "dataset"]
        if not any(row) or row[0].startswith("#") or header:
            continue
        if len(row) != 2 or not all(row):
            raise DataError(
                f"{path}: line {number}: {','.join(row)!r}: two names are needed: detector,dataset"
            )
        if row[0] in found:
            raise DataError(f"{path}: line {number}: {row[0]!r} is there twice; a class can mean only one")
        found[row[0]] = row[1]
    if not found:
        raise DataError(f"{path}: has no line 'detector,dataset'")
    return found


def _unknown(what: str, label: str, whose: str, names: Sequence[str]) -> str:
    return f"{what}: {label!r} is no class of {whose} ({_some(names)})"


def _classes(count: int) -> str:
    return f"{count} class{'es' * (count != 1)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
