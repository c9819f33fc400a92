"""From an image file to a square JPEG: decode, turn upright, resize, and take fingerprints on the way."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from taco_kd.data.geometry import Mode, Placement
from taco_kd.data.hashes import HashName, perceptual_hash
from taco_kd.data.label_turns import LabelTurn, label_turn
from taco_kd.data.records import Annotation
from taco_kd.errors import DataError

JPEG_QUALITY = 95
THUMBNAIL_SIDE = 32
_SMALL_SIDE = 320
_ORIENTATION_TAG = 0x0112
_SMALLEST_DECODE = 256  # so that fingerprints hardly depend on a small output size

# What a viewer does to the stored pixels (EXIF 2.32, table 4.6.4 A, tag Orientation).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = (5, 6, 7, 8)


@dataclass(frozen=True)
class ImageJob:
    """Read ``source``, whose annotations live in ``width`` x ``height``, and write ``target``, a square.

    Attributes:
        target: None: look at the image and write nothing.
        labels: annotations to compare with the pixels; none: no comparison.
    """

    source: Path
    width: int
    height: int
    size: int
    target: Path | None
    mode: Mode = "stretch"
    hash_name: HashName = "phash"
    hash_size: int = 8
    labels: tuple[Annotation, ...] = ()


@dataclass(frozen=True)
class ImageResult:
    """What was seen on the way.

    Attributes:
        sha256: of the bytes of the source file.
        phash: [hash_size squared] bits of the perceptual hash of the upright image.
        thumbnail: [32, 32, 3] uint8 RGB of the upright image, stretched.
        turned: the EXIF orientation was applied.
        unconfirmed: the EXIF orientation that was applied although the annotation's size cannot confirm it:
            half turns, mirrors, and quarter turns of squares; else None.
        stored_size: width and height of the upright pixels where these are not those of the annotations.
        output_sha256: of the bytes of the target file; empty where none was written.
        label_turn: how the labels fit the pixels, as they are and turned; None where that was not looked at.
    """

    sha256: str
    phash: NDArray[np.bool_]
    thumbnail: NDArray[np.uint8]
    turned: bool
    unconfirmed: int | None
    stored_size: tuple[int, int] | None
    output_sha256: str
    label_turn: LabelTurn | None = None


@dataclass(frozen=True)
class Unusable:
    """An image that cannot be used, and the line that says why.

    Attributes:
        other_size: its pixels are good, but not those that the annotations are for.
    """

    reason: str
    other_size: bool = False


class OtherSizeError(DataError):
    """An image whose proportions are not those of its record."""


def process_or_say_why(job: ImageJob) -> ImageResult | Unusable:
    """Do one job, or give the reason instead of raising DataError."""
    try:
        return process_image(job)
    except DataError as error:
        return Unusable(str(error), other_size=isinstance(error, OtherSizeError))


def process_image(job: ImageJob) -> ImageResult:
    """Do one job; runs in a worker process and does not import torch.

    Raises:
        DataError: the file is no image, is damaged, or is not of the size that its annotations are for.
    """
    try:
        content = job.source.read_bytes()
    except OSError as error:
        raise DataError(f"{job.source}: cannot be read ({error.strerror})") from None
    upright, orientation, stored_size = _decode(content, job)
    output_sha256 = ""
    if job.target is not None:
        square = Placement.of(job.width, job.height, size=job.size, mode=job.mode).render(upright)
        encoded = io.BytesIO()
        square.save(encoded, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        job.target.write_bytes(encoded.getbuffer())
        output_sha256 = hashlib.sha256(encoded.getbuffer()).hexdigest()
    small = _small(upright)
    thumbnail = small.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return ImageResult(
        sha256=hashlib.sha256(content).hexdigest(),
        phash=perceptual_hash(small, job.hash_name, job.hash_size),
        thumbnail=np.asarray(thumbnail),
        turned=orientation != 1,
        unconfirmed=None if confirms((job.width, job.height), orientation) else orientation,
        stored_size=stored_size,
        output_sha256=output_sha256,
        label_turn=label_turn(small, job.labels, job.width, job.height) if job.labels else None,
    )


def _small(upright: Image.Image) -> Image.Image:
    """The image averaged to a small square, from which all fingerprints are taken: once instead of thrice."""
    if min(upright.size) <= _SMALL_SIDE:
        return upright
    return upright.resize((_SMALL_SIDE, _SMALL_SIDE), Image.Resampling.BOX, reducing_gap=2.0)


def orientation_to_apply(stored: tuple[int, int], orientation: int, expected: tuple[int, int]) -> int | None:
    """The EXIF orientation to apply so that ``stored`` pixels agree with ``expected``; 1 means none.

    The size in the annotation file decides about quarter turns, since some tools write the size of the stored
    pixels and some that of the upright image. Where it cannot (half turns, mirrors, squares) the file is
    shown as viewers show it. Equal sizes win over sizes that are equal but for a scale.

    Returns:
        None when the sizes do not agree either way: their proportions differ by more than 1 %.
    """
    choices = [(stored, orientation)]
    if orientation in _QUARTER_TURNS:
        choices = [(stored[::-1], orientation), (stored, 1)]
    for size, choice in choices:
        if size == expected:
            return choice
    for size, choice in choices:
        if abs(size[0] * expected[1] / (size[1] * expected[0]) - 1) <= 0.01:
            return choice
    return None


def stored_size(path: Path) -> tuple[tuple[int, int], int]:
    """Width and height of the stored pixels and the EXIF orientation of an image that decodes to its end.

    Raises:
        DataError: it does not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                size, orientation = image.size, _orientation(image)
                image.draft(None, (1, 1))  # a JPEG is read to its end, but decoded at an eighth
                image.load()
                return size, orientation
    except Exception as error:
        raise DataError(f"{path}: cannot be decoded ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a format that Pillow knows"
    return str(error) or type(error).__name__


def confirms(expected: tuple[int, int], orientation: int) -> bool:
    """Whether an annotation's size says that ``orientation`` was right to apply: only where it swaps the
    sides of an image that is no square. 1, no turn, needs no confirmation."""
    return orientation == 1 or (orientation in _QUARTER_TURNS and expected[0] != expected[1])


def _decode(content: bytes, job: ImageJob) -> tuple[Image.Image, int, tuple[int, int] | None]:
    """The upright RGB image (perhaps decoded at a smaller scale), the orientation applied, its odd size."""
    expected = (job.width, job.height)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata that we do not use
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                stored, orientation = image.size, _orientation(image)
                apply = orientation_to_apply(stored, orientation, expected)
                if apply is not None:
                    side = max(job.size, _SMALLEST_DECODE)
                    image.draft(None, (side, side))  # JPEG decodes at 1/2, 1/4, 1/8 far faster
                    image.load()
                    pixels = _rgb(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = f"{(Image.MAX_IMAGE_PIXELS or 0) // 1_000_000} million pixels"
        raise DataError(f"{job.source}: more than {limit}; scale it down if you trust it") from None
    except DataError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise DataError(
            f"{job.source}: cannot be decoded ({_reason(error)}); replace it or drop it"
        ) from None
    if apply is None:
        raise OtherSizeError(
            f"{job.source}: {stored[0]}x{stored[1]} pixels (EXIF orientation {orientation}), "
            f"but the annotation file says {expected[0]}x{expected[1]}; correct one of them"
        )
    upright_size = stored[::-1] if apply in _QUARTER_TURNS else stored
    upright = pixels.transpose(_TURNS[apply]) if apply != 1 else pixels
    return upright, apply, None if upright_size == expected else upright_size


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block says nothing; the pixels are still good
        return 1
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"pixel format {image.mode}; convert it to 8-bit RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
