"""The room on disk that a teacher cache will need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from taco_kd.disk import size
from taco_kd.errors import MissingResourceError


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

    def line(self, folder: Path) -> str:
        """For people, before the first step."""
        there = f", {self.there:,} answers there already" if self.there else ""
        return (
            f"Teacher cache {folder}: {self.views:,} answers of {size(self.bytes_each)} are "
            f"{size(self.views * self.bytes_each)}{there}; {size(self.free_bytes)} free."
            f"{self.note and ' '}{self.note}"
        )

    def require_room(self, folder: Path) -> None:
        """Raise MissingResourceError where the disk cannot take what is still to come."""
        if self.needed_bytes > 0.95 * self.free_bytes:
            raise MissingResourceError(
                f"{folder}: the teacher cache needs {size(self.needed_bytes)} and the disk has "
                f"{size(self.free_bytes)} free; name another folder, or --teacher-cache off, or store less: "
                "distill.cache_mode=replay, distill.cache_precision=float16, distill.cache_features=false"
            )
