"""A teacher's answers, kept: computed once for each image and orientation, read from disk ever after.

The key of an answer is the teacher (its weights and everything that shapes its input), what is stored, and
the very pixels it was given. So nothing has to be invalidated: other pixels, weights or settings are other
keys, and old answers are simply not found.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from taco_kd.data.dataset import Batch
from taco_kd.disk import size
from taco_kd.distill.output_entries import join, mirrored, split
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
            very pixels. ``replay`` keeps the first only and mirrors it, boxes and maps, with the image: half
            the work and disk, but no network answers to a mirror image with exactly the mirrored answer.

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
    ) -> None:
        if root.exists() and not root.is_dir():
            raise UsageError(f"{root}: is a file; --teacher-cache wants a folder, or off")
        self.folder = root / space.hash[:16]
        self.store = ShardStore(self.folder, space.hash)
        self.mode, self.hits, self.misses = mode, 0, 0
        self._space, self._compute = space, compute
        self._dtype = torch.float16 if space.precision == "float16" else torch.float32
        self._hashes: dict[tuple[int, bool], str] = {}

    @torch.no_grad()
    def output(self, batch: Batch, images: Tensor) -> DetectorOutput:
        """The teacher's answer to ``images`` [B, 3, S, S] in 0..1, which are the pixels of ``batch``.

        Without gradients and on the device of ``images``. Only images not met before are computed.
        """
        keys = [self._key(batch, place) for place in range(len(images))]
        entries = [self.store.get(key) for key in keys]
        missing = [place for place, entry in enumerate(entries) if entry is None]
        if missing:
            wanted = images[missing]
            turn = [self.mode == "replay" and batch.mirrored[place] for place in missing]
            if any(turn):
                back = torch.tensor(turn, device=images.device).view(-1, 1, 1, 1)
                wanted = torch.where(back, wanted.flip(-1), wanted)
            for place, entry in zip(missing, split(self._compute(wanted), dtype=self._dtype), strict=True):
                self.store.put(keys[place], entry)
                entries[place] = entry
        self.misses += len(missing)
        self.hits += len(images) - len(missing)
        return join(self._turned(entries, batch), device=images.device)

    def flush(self) -> None:
        """Put on disk what is not there yet."""
        self.store.flush()
        if self.folder.is_dir() and not (about := self.folder / "teacher.json").is_file():
            write_json(about, self._space.to_json())  # for people

    def estimate(self, batch: Batch, images: Tensor, *, views: int) -> Estimate:
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
            "damaged": self.store.damaged,
        }

    def _key(self, batch: Batch, place: int) -> str:
        """Hash of the pixels an answer is computed on; in replay mode those of the image as it is stored."""
        turned = batch.mirrored[place]
        known = (batch.positions[place], turned and self.mode == "exact")
        if known not in self._hashes:
            pixels = batch.images[place]
            if turned and self.mode == "replay":
                pixels = pixels.flip(-1)
            digest = hashlib.sha256(str(tuple(pixels.shape)).encode())
            digest.update(pixels.contiguous().numpy().data)
            self._hashes[known] = digest.hexdigest()[:32]
        return self._hashes[known]

    def _turned(self, entries: Sequence[Entry | None], batch: Batch) -> list[Entry]:
        turn = [self.mode == "replay" and one for one in batch.mirrored]
        whole = [entry for entry in entries if entry is not None]
        return [mirrored(entry) if flip else entry for entry, flip in zip(whole, turn, strict=True)]


@dataclass(frozen=True)
class Estimate:
    """Room that a cache will need.

    Attributes:
        views: answers that the run can ask for: images, twice where both orientations are kept.
        there: answers on disk already, of any data.
        bytes_each: of one answer.
        free_bytes: on the disk.
    """

    views: int
    there: int
    bytes_each: int
    free_bytes: int

    @property
    def needed_bytes(self) -> int:
        return max(0, self.views - self.there) * self.bytes_each

    def line(self, cache: TeacherCache) -> str:
        """For people, before the first step."""
        there = f", {self.there:,} answers there already" if self.there else ""
        return (
            f"Teacher cache {cache.folder}: {self.views:,} answers of {size(self.bytes_each)} are "
            f"{size(self.views * self.bytes_each)}{there}; {size(self.free_bytes)} free."
        )

    def require_room(self, cache: TeacherCache) -> None:
        """Raise MissingResourceError where the disk cannot take what is still to come."""
        if self.needed_bytes > 0.95 * self.free_bytes:
            raise MissingResourceError(
                f"{cache.folder}: the teacher cache needs {size(self.needed_bytes)} and the disk has "
                f"{size(self.free_bytes)} free; name another folder, or --teacher-cache off, or store less: "
                "distill.cache_mode=replay, distill.cache_precision=float16, distill.cache_features=false"
            )
