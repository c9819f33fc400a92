"""The unlabelled images: from a folder of any depth, or a prepared dataset whose labels are not looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from taco_kd.autolabel.folders import SUFFIXES
from taco_kd.data.geometry import Mode
from taco_kd.data.headers import upright_size
from taco_kd.data.images import ImageJob, process_image
from taco_kd.data.overlap import ImagePrint
from taco_kd.errors import DataError
from taco_kd.runs import DataDir, Split


@dataclass(frozen=True)
class Prepared:
    """An unlabelled image made as the validation images were: ``size`` x ``size``, JPEG."""

    source: Path
    width: int
    height: int
    print: ImagePrint


def find_images(root: Path) -> list[Path]:
    """All images under ``root``, by name; hidden files and folders are passed over.

    Raises:
        DataError: no such folder, or no image in it.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that holds the unlabelled images")
    found = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    )
    if not found:
        raise DataError(f"{root}: no image in it ({', '.join(sorted(SUFFIXES))})")
    return found


def images_of(data: DataDir, split: Split) -> list[Path]:
    """The images of a split, whatever their labels."""
    found = [data.image_file(split, image["file_name"]) for image in data.coco(split)["images"]]
    if not found:
        raise DataError(f"{data.path}: its {split} split holds no image")
    return found


def prepare_image(source: Path, size: int, target: Path, mode: Mode = "stretch") -> Prepared:
    """Write ``source``, upright, as the square image ``target``; stretched or letterboxed.

    Raises:
        DataError: it is no image, or is damaged.
    """
    width, height = upright_size(source)
    done = process_image(ImageJob(source, width, height, size, target, mode))
    own = ImagePrint(target, frozenset({done.sha256, done.output_sha256}), done.phash)
    return Prepared(source, width, height, own)


def prepare_images(
    sources: list[Path], size: int, folder: Path, names: list[str], mode: Mode = "stretch"
) -> Iterator[Prepared | tuple[Path, str]]:
    """Each image in turn, or the image and the reason why it cannot be used."""
    folder.mkdir(parents=True, exist_ok=True)
    for source, name in zip(sources, names, strict=True):
        try:
            yield prepare_image(source, size, folder / name, mode)
        except DataError as error:
            yield source, str(error)
