"""Image-classification folders: ``root/<class>/*.jpg``, one class a folder, no boxes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from taco_kd.errors import DataError

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# ImportError: where Ultralytics has been imported, it looks for a plugin before it gives a file up.
_UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, ImportError, Image.DecompressionBombError)


class UnreadableImageError(DataError):
    """One photo that cannot be decoded. A stage sets it aside and goes on."""


@dataclass(frozen=True)
class Photo:
    """One photo of a classification data set.

    Attributes:
        file_name: path relative to the data set's root, with forward slashes on every system.
        label: name of the folder it lies in, which is its class.
    """

    file_name: str
    label: str


@dataclass(frozen=True)
class ClassFolders:
    """A classification data set on disk: its root, its classes and their photos, both in sorted order."""

    root: Path
    classes: tuple[str, ...]
    photos: tuple[Photo, ...]

    @classmethod
    def find(cls, root: Path, *, per_folder: int | None = None) -> ClassFolders:
        """The class folders under ``root`` that hold images.

        Args:
            root: folder of folders. Hidden entries, and folders without an image directly in them, are
                not classes.
            per_folder: take at most this many photos of each class, evenly spread over the sorted names
                (neighbours are often shots of the same thing).

        Raises:
            DataError: no such folder, or no class folder with an image in it.
        """
        if not root.is_dir():
            raise DataError(f"{root}: no such folder; give the folder that holds one folder per class")
        photos: list[Photo] = []
        for folder in sorted(entry for entry in root.iterdir() if entry.is_dir() and _visible(entry)):
            names = sorted(f.name for f in folder.iterdir() if _is_image(f))
            photos += [Photo(f"{folder.name}/{name}", folder.name) for name in _spread(names, per_folder)]
        if not photos:
            raise DataError(
                f"{root}: no class folders with images in them; expected {root.name}/<class>/*.jpg or .png"
            )
        return cls(root, tuple(sorted({photo.label for photo in photos})), tuple(photos))

    def read(self, photo: Photo) -> Image.Image:
        """The photo as upright RGB: its EXIF orientation is applied.

        Raises:
            UnreadableImageError: the bytes are not an image that Pillow decodes, or a decompression bomb.
        """
        path = self.root / photo.file_name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # odd EXIF or palettes: the pixels are still good
                with Image.open(path) as image:
                    return ImageOps.exif_transpose(image).convert("RGB")
        except _UNDECODABLE as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UnreadableImageError(f"{path}: cannot be decoded ({reason})") from None


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _is_image(path: Path) -> bool:
    return _visible(path) and path.suffix.lower() in SUFFIXES and path.is_file()


def _spread(names: list[str], count: int | None) -> list[str]:
    """At most ``count`` of the names, evenly spaced, in order."""
    if count is None or count >= len(names):
        return names
    return [names[i * len(names) // count] for i in range(count)]
