"""``--class-map``: coarser classes, applied by name, with a record of what went where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from taco_kd.classes.spaces import space
from taco_kd.classes.tables import read_table, resolve
from taco_kd.data.records import Category, MergedClass, RawDataset
from taco_kd.errors import DataError, UsageError

CLASS_MAPS = ("taco-1", "taco-10", "taco-28", "supercategories")
"""What ships beside a user's own CSV file. taco-1 and supercategories work for any dataset."""
ONE_CLASS = "Litter"
DROP = "-"
"""In a CSV file: the class whose boxes are dropped."""

Targets = list[str | None]


def merge_classes(raw: RawDataset, name: str) -> RawDataset:
    """``raw`` with the classes of the map ``name``, whose ids count from 0, and with ``merged`` filled in.

    Raises:
        UsageError: no such map or file.
        DataError: a class of the dataset has no row in the map, or more than one.
    """
    sources = [category.name for category in raw.categories]
    names, targets = _targets(raw, name, sources)
    boxes = Counter(a.category_id for image in raw.images for a in image.annotations)
    ids = {
        category.id: None if target is None else names.index(target)
        for category, target in zip(raw.categories, targets, strict=True)
    }
    images = tuple(
        replace(
            image,
            annotations=tuple(
                replace(a, category_id=number)
                for a in image.annotations
                if (number := ids[a.category_id]) is not None
            ),
        )
        for image in raw.images
    )
    if not any(image.annotations for image in images):
        raise DataError(f"{name}: not one box is left after the class map")
    return replace(
        raw,
        images=images,
        categories=tuple(Category(i, target, "") for i, target in enumerate(names)),
        merged=tuple(
            MergedClass(category.name, target, boxes[category.id])
            for category, target in zip(raw.categories, targets, strict=True)
        ),
    )


def map_identity(name: str) -> object:
    """What of a map decides about the result: its rows if it is a file."""
    return name if name in CLASS_MAPS else [(row.source, row.target) for row in read_table(name).rows]


def _targets(raw: RawDataset, name: str, sources: Sequence[str]) -> tuple[list[str], Targets]:
    """The new class names in order, and for each class of the dataset where it goes."""
    if name == "taco-1":
        return [ONE_CLASS], [ONE_CLASS] * len(sources)
    if name == "supercategories":
        targets = [category.supercategory for category in raw.categories]
        if without := [c.name for c in raw.categories if not c.supercategory]:
            raise DataError(f"supercategories: the dataset gives none for {without[0]!r}; use a CSV file")
        return list(dict.fromkeys(targets)), list(targets)
    if name in CLASS_MAPS:
        return _by_table(f"taco-60-to-{name}", sources, list(space(name)))
    try:
        table = read_table(name)
    except UsageError:
        known = ", ".join(CLASS_MAPS)
        raise UsageError(
            f"unknown class map {name!r}: choose one of {known}, or a CSV file (from,to)"
        ) from None
    return _by_table(name, sources, list(dict.fromkeys(row.target for row in table.rows)))


def _by_table(name: str, sources: Sequence[str], names: list[str]) -> tuple[list[str], Targets]:
    found: dict[int, str] = {}
    for i, j in resolve(read_table(name), sources, names):
        if found.setdefault(i, names[j]) != names[j]:
            raise DataError(
                f"{name}: class {sources[i]!r} goes to {found[i]!r} and to {names[j]!r}; choose one"
            )
    missing = [source for i, source in enumerate(sources) if i not in found]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"{name}: no row for class {missing[0]!r}{more}; give each a class, or {DROP} to drop it"
        )
    targets: Targets = [None if found[i] == DROP else found[i] for i in range(len(sources))]
    return [target for target in names if target != DROP], targets
