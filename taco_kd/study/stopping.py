"""What SIGINT and SIGTERM do to a study: running cells are waited for, everything else ends at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from taco_kd.errors import InterruptedRunError
from taco_kd.progress import notice
from taco_kd.signals import StopSignals


class StopRequests(StopSignals):
    """Handles the signals inside its ``with`` block.

    Raises:
        InterruptedRunError: in the main thread, on a signal; inside :meth:`waited_for`, at its end or on a
            second signal.
    """

    def __init__(self) -> None:
        super().__init__()
        self.event = threading.Event()
        self._patient = False

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """A block that ends by itself soon after :attr:`event` was set."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False
        if self.event.is_set():
            raise self._error()

    def _requested(self, number: int, frame: object) -> None:
        first = not self.event.is_set()
        self.event.set()
        if not (self._patient and first):
            raise self._error()
        notice("Stopping: waiting for the running cells to end.")

    def _error(self) -> InterruptedRunError:
        return InterruptedRunError("stopped; the same command goes on from there")
