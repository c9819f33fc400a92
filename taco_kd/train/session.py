"""What surrounds a run: the processes it runs in, requests to stop it, and who is told how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from taco_kd.progress import Tick
from taco_kd.train.observers import Observers
from taco_kd.train.processes import Processes
from taco_kd.train.stopping import StopRequests


@dataclass(frozen=True)
class Session:
    """Passed through the stages of a run, and no part of its result."""

    processes: Processes
    stop: StopRequests
    on_progress: Tick | None = None
    observers: Observers = field(default_factory=Observers)

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
        tell, observers = self.on_progress, self.observers.part(offset, whole)
        if tell is None:
            return replace(self, observers=observers)
        shifted: Tick = lambda done, _total, note="": tell(offset + done, whole, note)  # noqa: E731
        return replace(self, on_progress=shifted, observers=observers)

    def decide(self, question: Callable[[], Any]) -> Any:
        """The answer of the first process, which alone is asked, in all of them."""
        return self.processes.tell(question() if self.first else None)
