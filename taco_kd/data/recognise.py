"""What kind of dataset a folder holds, told by the files that only one layout has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from taco_kd.data.coco_folder import coco_parts
from taco_kd.data.headers import images_below
from taco_kd.data.taco import ANNOTATIONS
from taco_kd.data.voc import xml_files
from taco_kd.data.yolo_layout import find_yaml
from taco_kd.errors import DataError

Layout = Literal["taco", "coco", "yolo", "voc"]


def recognise(root: Path) -> tuple[Layout, str]:
    """The layout of a folder and what it was known by.

    Where a folder has the marks of two, the one that says more counts: TACO's and COCO's files have polygons
    and licences, YOLO's have not.

    Raises:
        DataError: no such folder, or none of the layouts.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    for layout, mark in _MARKS.items():
        if (found := mark(root)) is not None:
            return layout, found
    raise DataError(
        f"{root}: no layout that is known: no annotations.json (TACO), no annotations/*train*.json (COCO), "
        "no data.yaml or classes.txt (YOLO), no Annotations/*.xml (VOC); name the kind with --source"
    )


def _taco(root: Path) -> str | None:
    return ANNOTATIONS if (root / ANNOTATIONS).is_file() else None


def _coco(root: Path) -> str | None:
    files = [str(part.annotations.relative_to(root)) for part in coco_parts(root)]
    return ", ".join(files) or None


def _yolo(root: Path) -> str | None:
    if (file := find_yaml(root)) is not None:
        return file.name
    names = next(
        (f for f in ("classes.txt", "labels/classes.txt", "obj.names") if (root / f).is_file()), None
    )
    return names if names and images_below(root) else None


def _voc(root: Path) -> str | None:
    files = xml_files(root)
    return f"{len(files)} XML files, such as {files[0].relative_to(root)}" if files else None


_MARKS: dict[Layout, Callable[[Path], str | None]] = {
    "taco": _taco,
    "coco": _coco,
    "yolo": _yolo,
    "voc": _voc,
}
