"""What surrounds a run: the processes it runs in, requests to stop it, and who is told how far it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from taco_kd.progress import Tick
from taco_kd.train.processes import Processes
from taco_kd.train.stopping import StopRequests


@dataclass(frozen=True)
class Session:
    """Passed through the stages of a run, and no part of its result."""

    processes: Processes
    stop: StopRequests
    on_progress: Tick | None = None

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.processes.first

    def tick(self, done: int, total: int, note: str = "") -> None:
        """Tell how far the run is."""
        if self.on_progress is not None:
            self.on_progress(done, total, note)

    def part(self, offset: int, whole: int) -> Session:
        """The same for a stage that begins after ``offset`` of ``whole`` steps."""
        tell = self.on_progress
        if tell is None:
            return self
        return replace(self, on_progress=lambda done, _total, note="": tell(offset + done, whole, note))
