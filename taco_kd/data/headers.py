"""Image files as readers of labels need them: where they are, and their size without decoding them."""

from __future__ import annotations

import warnings
from pathlib import Path, PurePosixPath, PureWindowsPath

from PIL import ExifTags, Image, UnidentifiedImageError

from taco_kd.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def is_image(path: Path) -> bool:
    """Whether its name says so; hidden files are none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def images_below(folder: Path) -> list[Path]:
    """Image files in ``folder`` and its folders, sorted by their path."""
    return sorted(path for path in folder.rglob("*") if is_image(path) and path.is_file())


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height as viewers show the image, from the head of its file.

    Raises:
        DataError: it cannot be read, or is no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                width, height = image.size
                try:
                    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
                except Exception:  # a damaged EXIF block says nothing
                    orientation = 1
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = f"{(Image.MAX_IMAGE_PIXELS or 0) // 1_000_000} million pixels"
        raise DataError(f"{path}: more than {limit}; scale it down if you trust it") from None
    except Exception as error:
        kind = "not a format that Pillow knows" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path}: cannot be decoded ({kind}); replace it or drop it") from None
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def stays_inside(name: str) -> bool:
    """Whether a relative path stays in the folder that it is relative to."""
    pure = PurePosixPath(name.replace("\\", "/"))
    if not name or pure.is_absolute() or PureWindowsPath(name).anchor or any(ord(c) < 32 for c in name):
        return False
    depth = 0
    for part in pure.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return False
    return depth > 0
