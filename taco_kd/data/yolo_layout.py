"""What a YOLO dataset's ``data.yaml`` says: the names of its classes, and the images of each part.

Format: https://docs.ultralytics.com/datasets/detect/. Without ``data.yaml``, names come from ``classes.txt``
(or ``obj.names``) and images from ``images/``, as annotation tools export them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from taco_kd.data.headers import images_below, is_image, stays_inside
from taco_kd.data.records import Finding, Part
from taco_kd.errors import DataError

IN_TWO_PARTS = "in_two_parts"
"""Kind of the finding that forbids to keep the split of the source."""
_NAME_FILES = ("classes.txt", "obj.names", "labels.txt")
_PART_FOLDERS: dict[str, Part] = {
    "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip


@dataclass(frozen=True)
class YoloLayout:
    """``files`` were read for it, the first of them to be named in messages; images are absolute paths or
    relative to the working directory, all below ``base``."""

    base: Path
    names: tuple[str, ...]
    images: tuple[tuple[Path, Part | None], ...]
    files: tuple[Path, ...]
    findings: tuple[Finding, ...] = ()


def find_yaml(root: Path) -> Path | None:
    """The data.yaml of a folder: of that name, or the only YAML file that lists names and a train part."""
    candidates = [root / "data.yaml", root / "data.yml"]
    candidates += sorted(p for p in root.glob("*.y*ml") if p.suffix in (".yaml", ".yml"))
    found = {path: None for path in candidates if path.is_file() and _is_dataset(path)}
    return next(iter(found), None)


def read_layout(root: Path) -> YoloLayout:
    """The layout of the dataset in ``root``.

    Raises:
        DataError: no such layout, YAML that does not parse, a part that is not there.
    """
    file = root / "data.yaml" if (root / "data.yaml").is_file() else find_yaml(root)
    return _without_yaml(root) if file is None else _with_yaml(root, file)


def _is_dataset(path: Path) -> bool:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError):
        return path.name == "data.yaml"
    return isinstance(value, dict) and "names" in value and ("train" in value or "val" in value)


def _with_yaml(root: Path, file: Path) -> YoloLayout:
    document = _load(file)
    names = _names(document, file)
    findings: list[Finding] = []
    base = root
    if document.get("path") is not None:
        stated = root / str(document["path"])
        if stated.is_dir():
            base = stated
        else:
            line = (
                f"{file}: path {str(document['path'])!r} is not there; parts are looked for beside the file"
            )
            findings.append(Finding("path_not_there", line))
    images: dict[Path, Part | None] = {}
    files, twice = [file], list[Path]()
    for key, part in _PART_FOLDERS.items():
        entries = document.get(key)
        for entry in entries if isinstance(entries, list) else [entries] if entries else []:
            for image in _entry(str(entry), base, file, key, files):
                if images.setdefault(image, part) != part:
                    twice.append(image)
    if not images:
        raise DataError(f"{file}: its parts (train, val) hold no image")
    if twice:
        line = f"{file}: {len(twice)} images are in two parts, the first {twice[0]}; counted once"
        findings.append(Finding(IN_TWO_PARTS, line))
    return YoloLayout(base, names, tuple(images.items()), tuple(files), tuple(findings))


def _load(file: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        reason = getattr(error, "problem", None) or type(error).__name__
        raise DataError(f"{file}: not valid YAML ({where}{reason})") from None
    if not isinstance(document, dict):
        raise DataError(f"{file}: not a YOLO dataset: {type(document).__name__} instead of keys and values")
    return document


def _names(document: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    names = document.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise DataError(f"{file}: names must be numbered 0 to {len(names) - 1}")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{file}: names = {names!r}; list the names of the classes")
    nc = document.get("nc", len(names))
    if nc != len(names):
        raise DataError(f"{file}: nc = {nc!r}, but it names {len(names)} classes")
    return _distinct([str(name) for name in names], file)


def _distinct(names: list[str], file: Path) -> tuple[str, ...]:
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice or not all(name.strip() for name in names):
        raise DataError(
            f"{file}: names {(twice or [''])[0]!r} twice; rename one"
            if twice
            else f"{file}: a class has no name"
        )
    return tuple(names)


def _entry(entry: str, base: Path, file: Path, key: str, files: list[Path]) -> Iterator[Path]:
    """Images of one entry of a part: a folder, a list of images, or one image."""
    place = _inside(entry, base)
    if place is None:
        raise DataError(f"{file}: {key} = {entry!r} is not there; correct it (it is relative to {base})")
    if place.is_dir():
        yield from images_below(place)
    elif place.suffix == ".txt":
        files.append(place)
        yield from _listed(place, base)
    elif is_image(place):
        yield place
    else:
        raise DataError(f"{file}: {key} = {entry!r} is neither a folder, nor a list (.txt), nor an image")


def _inside(entry: str, base: Path) -> Path | None:
    """The path below ``base`` that ``entry`` means, if it is there.

    Some exports write ``../train/images`` for ``train/images``, and absolute paths of the machine they were
    made on; a path outside the dataset is never read.
    """
    plain = entry.replace("\\", "/")
    shorter = plain
    while shorter.startswith("../"):
        shorter = shorter[3:]
    for candidate in (plain, shorter):
        if candidate in (".", "./") or stays_inside(candidate):
            if (base / candidate).exists():
                return base / candidate
        elif Path(candidate).is_absolute() and Path(candidate).resolve().is_relative_to(base.resolve()):
            inside = base / Path(candidate).resolve().relative_to(base.resolve())
            if inside.exists():
                return inside
    return None


def _listed(file: Path, base: Path) -> Iterator[Path]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        image = _inside(line.strip(), base) or _inside(line.strip(), file.parent)
        if image is None or not image.is_file():
            raise DataError(f"{file}:{number}: no such image in the dataset: {line.strip()!r}")
        yield image


def _without_yaml(root: Path) -> YoloLayout:
    places = [root / folder / name for folder in (".", "labels") for name in _NAME_FILES]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise DataError(f"{root}: not a YOLO dataset: it holds neither data.yaml nor classes.txt")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    names = _distinct([line.strip() for line in lines if line.strip()], file)
    images = images_below(root)
    if not images or not names:
        raise DataError(f"{root}: not a YOLO dataset: no image, or no class in {file.name}")
    return YoloLayout(root, names, tuple((image, part_of(image, root)) for image in images), (file,))


def part_of(image: Path, root: Path) -> Part | None:
    """The part that a folder between ``root`` and the image is named after."""
    folders = image.relative_to(root).parts[:-1]
    return next((_PART_FOLDERS[name.lower()] for name in folders if name.lower() in _PART_FOLDERS), None)
