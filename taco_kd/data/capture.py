"""When and with which camera a photo was taken, as its EXIF block or the annotation file says."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from PIL import ExifTags, Image

from taco_kd.data.groups import Shot
from taco_kd.data.records import ImageRecord


def shots_of(images: Iterable[ImageRecord]) -> dict[int, Shot]:
    """Time and camera of the images that have a time: EXIF DateTimeOriginal, else COCO's date_captured.

    Only the head of each file is read.
    """
    found = {}
    for image in images:
        shot = read_shot(image.path) or _as_captured(image.facts.get("date_captured"))
        if shot is not None:
            found[image.id] = shot
    return found


def read_shot(path: Path) -> Shot | None:
    """What the EXIF block of an image file says; None where there is no block, no time or no sense in it."""
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            exif = image.getexif()
            details = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # nothing of this is needed for the pixels
        return None
    taken = details.get(ExifTags.Base.DateTimeOriginal)
    try:
        time = datetime.strptime(str(taken).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    names = (exif.get(tag) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    return Shot(" ".join(str(name).strip("\0 ") for name in names if name), time)


def _as_captured(value: object) -> Shot | None:
    if not isinstance(value, str):
        return None
    try:
        return Shot("", datetime.fromisoformat(value.strip().removesuffix("Z")).replace(tzinfo=None))
    except ValueError:
        return None
