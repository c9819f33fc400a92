"""Images that could not be read during a run: told once each, counted, and listed in the run."""

from __future__ import annotations

from pathlib import Path

from taco_kd.data.batch import Batch
from taco_kd.files import write_json
from taco_kd.progress import warn


class Quarantine:
    """What one run could not read.

    Args:
        file: the list, kept up to date from the first such image on; None keeps none.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.files: dict[str, int] = {}
        """of each image file, how many batches it was to be in"""

    def see(self, batch: Batch) -> None:
        """Note what could not be read for a batch, with a line for each file that is new."""
        new = [file for file in batch.quarantined if file not in self.files]
        for file in batch.quarantined:
            self.files[file] = self.files.get(file, 0) + 1
        for file in new:
            warn(f"{file}: cannot be read any more; the next image that can be is in its place")
        if batch.quarantined and self._file is not None:
            write_json(self._file, self.record())

    def record(self) -> dict[str, object]:
        """How many files, how many batches each was to be in."""
        return {"images": len(self.files), "files": dict(sorted(self.files.items()))}
