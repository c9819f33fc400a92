"""A teacher's answers, kept: computed once for each image and orientation, read from disk ever after.

The key of an answer is the teacher (its weights and everything that shapes its input), what is stored, and
the very pixels it was given. So nothing has to be invalidated: other pixels, weights or settings are other
keys, and old answers are simply not found. Augmented views never come back, so answers to them are not kept.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from taco_kd.data.batch import WHOLE, Batch
from taco_kd.data.dataset import UnreadableImageError
from taco_kd.distill.cache_estimate import Estimate
from taco_kd.distill.output_entries import join, mirrored, split, windowed
from taco_kd.distill.shards import Entry, ShardStore, entry_bytes
from taco_kd.errors import UsageError
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
        side: S.

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
        side: int | None = None,
    ) -> None:
        if root.exists() and not root.is_dir():
            raise UsageError(f"{root}: is a file; --teacher-cache wants a folder, or off")
        self.folder = root / space.hash[:16]
        self.store = ShardStore(self.folder, space.hash)
        self.mode, self.hits, self.misses = mode, 0, 0
        self.not_kept = 0
        """augmented views that were computed and not kept"""
        self._stored_image, self._side = stored_image, side
        self._space, self._compute = space, compute
        self._dtype = torch.float16 if space.precision == "float16" else torch.float32
        self._hashes: dict[tuple[int, bool], str] = {}

    @torch.no_grad()
    def output(self, batch: Batch, images: Tensor) -> DetectorOutput:
        """The teacher's answer to ``images`` [B, 3, S, S] in 0..1, which are the pixels of ``batch``.

        Without gradients and on the device of ``images``. Only images not met before are computed.
        """
        kept: dict[int, str] = {}  # places whose answers are kept, by their keys
        known: dict[int, Entry] = {}
        wanted: dict[int, Tensor] = {}
        for place, image in enumerate(images):
            key = self._key(batch, place)
            if key is not None and (entry := self.store.get(key)) is not None:
                kept[place], known[place] = key, entry
                self.hits += 1
            elif key is not None and (pixels := self._pixels(batch, place, image)) is not None:
                kept[place], wanted[place] = key, pixels
                self.misses += 1
            else:
                wanted[place] = self._sized(image)
                self.not_kept += 1
        for place, entry in self._computed(wanted).items():
            known[place] = entry
            if place in kept:
                self.store.put(kept[place], entry)
        return join(
            [self._moved(known[n], batch, n, n in kept) for n in range(len(images))], device=images.device
        )

    def _computed(self, images: Mapping[int, Tensor]) -> dict[int, Entry]:
        """The teacher's answers, by place; images of one size in one forward."""
        by_size: dict[torch.Size, list[int]] = {}
        for place, image in images.items():
            by_size.setdefault(image.shape, []).append(place)
        found: dict[int, Entry] = {}
        for places in by_size.values():
            output = self._compute(torch.stack([images[place] for place in places]))
            found.update(zip(places, split(output, dtype=self._dtype), strict=True))
        return found

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
            if pixels is None:
                return None
            digest = hashlib.sha256(str(tuple(pixels.shape)).encode())
            digest.update(pixels.contiguous().numpy().data)
            self._hashes[known] = digest.hexdigest()[:32]
        return self._hashes[known]

    def _keeps(self, batch: Batch, place: int) -> bool:
        window = batch.windows[place]
        if not batch.augmented[place]:
            return True
        if self.mode == "exact" or self._stored_image is None or window is None:
            return False
        return window == WHOLE or "attention" not in self._space.stored

    def _pixels(self, batch: Batch, place: int, image: Tensor) -> Tensor | None:
        """What an answer that is kept is computed on, of the type and on the device of the view ``image``.

        None where the stored image cannot be read any more.
        """
        if self.mode == "exact":
            return image
        if not batch.augmented[place] or self._stored_image is None:
            return image.flip(-1) if batch.mirrored[place] else image
        try:
            stored = self._stored_image(batch.positions[place])
        except UnreadableImageError:
            return None
        return stored if image.dtype == torch.uint8 else stored.to(image) / 255

    def _sized(self, image: Tensor) -> Tensor:
        """A view whose answer is not kept, at a size at which a feature teacher's maps fit those that are."""
        if self.mode == "exact" or self._side is None or "predictions" in self._space.stored:
            return image
        if image.shape[-1] == self._side:
            return image
        size = (self._side, self._side)
        return F.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]

    def _moved(self, entry: Entry, batch: Batch, place: int, kept: bool) -> Entry:
        """The answer to an image as it is stored, moved as the view of it is; any other as it is."""
        if self.mode == "exact" or not kept:
            return entry
        window = batch.windows[place]
        if batch.augmented[place] and window is not None and window != WHOLE:
            entry = windowed(entry, window)
        return mirrored(entry) if batch.mirrored[place] else entry
