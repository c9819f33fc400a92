"""A teacher's answers, kept: computed once for each image and orientation, read from disk ever after.

The key of an answer is the teacher (its weights and everything that shapes its input), what is stored, and
the very pixels it was given. So nothing has to be invalidated: other pixels, weights or settings are other
keys, and old answers are simply not found. Augmented views never come back, so answers to them are not kept.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from taco_kd.data.batch import WHOLE, Batch
from taco_kd.distill.output_entries import join, mirrored, split, windowed
from taco_kd.distill.shards import Entry, ShardStore, entry_bytes
from taco_kd.errors import MissingResourceError, UsageError
from taco_kd.files import sha256_json, write_json
from taco_kd.types import DetectorOutput

FORMAT = "taco-kd teacher cache/1"
Mode = Literal["exact", "replay"]
Precision = Literal["float32", "float16"]


@dataclass(frozen=True)
class Space:
    """Everything but the pixels that a stored answer depends on.

    Attributes:
        teacher_hash: of its weights.
        teacher: its metadata: architecture, image size, mean and std, class names.
        stored: what is kept: ``predictions``, ``features``, ``attention``.
        queries: ``as they are``, or ``one per object`` where a dense teacher's are chosen by NMS.
        precision: of stored logits and maps.
    """

    teacher_hash: str
    teacher: Mapping[str, str]
    stored: tuple[str, ...]
    queries: str
    precision: Precision

    def to_json(self) -> dict[str, object]:
        return {"format": FORMAT, **asdict(self)}

    @property
    def hash(self) -> str:
        return sha256_json(self.to_json())


class TeacherCache:
    """Answers of one teacher to the images of one dataset.

    Args:
        root: folder of the caches of any number of teachers; made when the first answers are written.
        space: what the answers depend on.
        compute: the teacher: images [B, 3, S, S] in 0..1 to its output.
        mode: ``exact`` keeps an answer for the image and one for its mirror image, each computed on these
            very pixels. ``replay`` keeps the first only and moves it, boxes and maps, with the image when
            that is mirrored, zoomed out or cut: less work and disk, but no network answers to such an image
            with exactly the moved answer. Mosaics and pasted objects are computed in either mode.
        stored_image: the image at a position of the dataset, uint8 [3, S, S], as it is before augmentation;
            without it augmented views are computed in replay mode too.

    Raises:
        UsageError: ``root`` is a file.
    """

    def __init__(
        self,
        root: Path,
        space: Space,
        compute: Callable[[Tensor], DetectorOutput],
        *,
        mode: Mode = "exact",
        stored_image: Callable[[int], Tensor] | None = None,
    ) -> None:
        if root.exists() and not root.is_dir():
            raise UsageError(f"{root}: is a file; --teacher-cache wants a folder, or off")
        self.folder = root / space.hash[:16]
        self.store = ShardStore(self.folder, space.hash)
        self.mode, self.hits, self.misses = mode, 0, 0
        self.not_kept = 0
        """augmented views that were computed and not kept"""
        self._stored_image = stored_image
        self._space, self._compute = space, compute
        self._dtype = torch.float16 if space.precision == "float16" else torch.float32
        self._hashes: dict[tuple[int, bool], str] = {}

    @torch.no_grad()
    def output(self, batch: Batch, images: Tensor) -> DetectorOutput:
        """The teacher's answer to ``images`` [B, 3, S, S] in 0..1, which are the pixels of ``batch``.

        Without gradients and on the device of ``images``. Only images not met before are computed.
        """
        keys = [self._key(batch, place) for place in range(len(images))]
        entries = [None if key is None else self.store.get(key) for key in keys]
        missing = [place for place, key in enumerate(keys) if key and entries[place] is None]
        passing = [place for place, key in enumerate(keys) if key is None]
        if missing:
            self._fill(entries, missing, torch.stack([self._pixels(batch, n, images[n]) for n in missing]))
        if passing:
            self._fill(entries, passing, self._sized(images[passing]))
        for place in missing:
            self.store.put(keys[place], entries[place])
        self.misses += len(missing)
        self.not_kept += len(passing)
        self.hits += len(images) - len(missing) - len(passing)
        return join(self._moved(entries, keys, batch), device=images.device)

    def _fill(self, entries: list[Entry | None], places: Sequence[int], images: Tensor) -> None:
        answers = split(self._compute(images), dtype=self._dtype)
        for place, entry in zip(places, answers, strict=True):
            entries[place] = entry

    def flush(self) -> None:
        """Put on disk what is not there yet."""
        self.store.flush()
        if self.folder.is_dir() and not (about := self.folder / "teacher.json").is_file():
            write_json(about, self._space.to_json())  # for people

    def estimate(self, batch: Batch, images: Tensor, *, views: int, note: str = "") -> Estimate:
        """What ``views`` answers like that to the first image of ``batch`` take on disk."""
        one = split(self._compute(images[:1]), dtype=self._dtype)[0]
        folder = self.folder
        while not folder.exists():
            folder = folder.parent
        return Estimate(
            views=views,
            there=len(self.store),
            bytes_each=entry_bytes(one),
            free_bytes=shutil.disk_usage(folder).free,
            note=note,
        )

    def record(self) -> dict[str, object]:
        """For the run's record."""
        return {
            "folder": str(self.folder.resolve()),
            "mode": self.mode,
            "precision": self._space.precision,
            "stored": list(self._space.stored),
            "hits": self.hits,
            "misses": self.misses,
            "not_kept": self.not_kept,
            "damaged": self.store.damaged,
        }

    def _key(self, batch: Batch, place: int) -> str | None:
        """Hash of the pixels an answer is computed on; in replay mode those of the image as it is stored.

        None for a view to which no answer is kept.
        """
        if not self._keeps(batch, place):
            return None
        known = (batch.positions[place], batch.mirrored[place] and self.mode == "exact")
        if known not in self._hashes:
            pixels = self._pixels(batch, place, batch.images[place])
            digest = hashlib.sha256(str(tuple(pixels.shape)).encode())
            digest.update(pixels.cpu().contiguous().numpy().data)
            self._hashes[known] = digest.hexdigest()[:32]
        return self._hashes[known]

    def _keeps(self, batch: Batch, place: int) -> bool:
        window = batch.windows[place]
        if not batch.augmented[place]:
            return True
        if self.mode == "exact" or self._stored_image is None or window is None:
            return False
        return window == WHOLE or "attention" not in self._space.stored

    def _pixels(self, batch: Batch, place: int, image: Tensor) -> Tensor:
        """What an answer that is kept is computed on, of the type and on the device of the view ``image``."""
        if self.mode == "exact":
            return image
        if not batch.augmented[place]:
            return image.flip(-1) if batch.mirrored[place] else image
        assert self._stored_image is not None
        stored = self._stored_image(batch.positions[place])
        return stored if image.dtype == torch.uint8 else stored.to(image) / 255

    def _sized(self, images: Tensor) -> Tensor:
        """Views whose answers are not kept, at a size at which a feature teacher's maps fit those that are."""
        if self.mode == "exact" or self._stored_image is None or "predictions" in self._space.stored:
            return images
        side = self._stored_image(0).shape[-1]
        if images.shape[-1] == side:
            return images
        return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)

    def _moved(
        self, entries: Sequence[Entry | None], keys: Sequence[str | None], batch: Batch
    ) -> list[Entry]:
        """Answers to the images as they are stored, moved as the views of them are; others as they are."""
        found = []
        for place, entry in enumerate(entries):
            assert entry is not None
            if self.mode == "replay" and keys[place] is not None:
                window = batch.windows[place]
                if batch.augmented[place] and window is not None and window != WHOLE:
                    entry = windowed(entry, window)
                if batch.mirrored[place]:
                    entry = mirrored(entry)
            found.append(entry)
        return found


@dataclass(frozen=True)
class Estimate:
    """Room that a cache will need.

    Attributes:
        views: answers that the run can ask for: images, twice where both orientations are kept.
        there: answers on disk already, of any data.
        bytes_each: of one answer.
        free_bytes: on the disk.
        note: which answers are not among them, in words.
    """

    views: int
    there: int
    bytes_each: int
    free_bytes: int
    note: str = ""

    @property
    def needed_bytes(self) -> int:
        return max(0, self.views - self.there) * self.bytes_each

    def line(self, cache: TeacherCache) -> str:
        """For people, before the first step."""
        there = f", {self.there:,} answers there already" if self.there else ""
        return (
            f"Teacher cache {cache.folder}: {self.views:,} answers of {size(self.bytes_each)} are "
            f"{size(self.views * self.bytes_each)}{there}; {size(self.free_bytes)} free."
            f"{self.note and ' '}{self.note}"
        )

    def require_room(self, cache: TeacherCache) -> None:
        """Raise MissingResourceError where the disk cannot take what is still to come."""
        if self.needed_bytes > 0.95 * self.free_bytes:
            raise MissingResourceError(
                f"{cache.folder}: the teacher cache needs {size(self.needed_bytes)} and the disk has "
                f"{size(self.free_bytes)} free; name another folder, or --teacher-cache off, or store less: "
                "distill.cache_mode=replay, distill.cache_precision=float16, distill.cache_features=false"
            )


def size(count: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
