"""Label spaces: class names in the order of a detector's head, shipped by name or read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from taco_kd.errors import DataError, UsageError, one_of

SPACES = ("coco-80", "coco-91", "taco-60", "taco-28", "taco-10")
NO_CLASS = "N/A"
"""stands where a head has a place and the label space has no class: 11 of COCO's ids 0 to 90"""

# Pascal VOC's spellings, which some published COCO checkpoints carry (PekingU's RT-DETR says "sofa").
_SPELLINGS = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}


def space(name: str) -> tuple[str, ...]:
    """Class names of a shipped label space.

    >>> space("coco-80")[:2], space("coco-91")[:2]
    (('person', 'bicycle'), ('N/A', 'person'))

    Raises:
        UsageError: there is none of that name.
    """
    if name not in SPACES:
        raise UsageError(one_of("label space", name, SPACES))
    file = resources.files("taco_kd") / "classes" / "data" / f"{name}.txt"
    return _names(file.read_text(encoding="utf-8"))


def space_or_file(name: str) -> tuple[str, ...]:
    """A shipped label space, or the names in a text file, one a line, in the order of the head.

    Raises:
        UsageError: neither a label space nor a file.
        DataError: the file is not text, is empty, or names a class twice.
    """
    if name in SPACES:
        return space(name)
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"{one_of('label space', name, SPACES)}, or a text file with one name a line")
    try:
        names = _names(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    if not names:
        raise DataError(f"{path}: holds no class name; write one a line, in the order of the head")
    twice = [n for i, n in enumerate(names) if n != NO_CLASS and n in names[:i]]
    if twice:
        raise DataError(f"{path}: names {twice[0]!r} twice; write {NO_CLASS} where the head has no class")
    return names


def _names(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def plain(name: str) -> str:
    """``name`` without the differences in spelling that mean nothing: case, ``_``, ``-``, runs of spaces.

    >>> plain("Plastic_film") == plain("plastic  film")
    True
    >>> plain("sofa")
    'couch'
    """
    text = " ".join(name.replace("_", " ").replace("-", " ").casefold().split())
    return _SPELLINGS.get(text, text)


def partners(names: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """Index of each name's partner among ``others``, where it has one; indices themselves never count.

    The very same name wins; otherwise names that are equal but for spelling (see ``plain``) are partners,
    unless that would leave a choice. ``N/A`` is nobody's partner.
    """
    exact = {name: i for i, name in enumerate(others) if name != NO_CLASS}
    loose = _unambiguous(others)
    own = _unambiguous(names)
    found = {}
    for i, name in enumerate(names):
        if name == NO_CLASS:
            continue
        if name in exact:
            found[i] = exact[name]
        elif own.get(plain(name)) == i and plain(name) in loose and others[loose[plain(name)]] not in names:
            found[i] = loose[plain(name)]
    return found


def _unambiguous(names: Sequence[str]) -> dict[str, int]:
    keys = [plain(name) for name in names]
    return {key: i for i, key in enumerate(keys) if keys.count(key) == 1 and names[i] != NO_CLASS}
