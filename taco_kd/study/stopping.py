"""What SIGINT and SIGTERM do to a study: running cells are waited for, everything else ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from taco_kd.errors import InterruptedRunError
from taco_kd.progress import notice

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequests:
    """Handles the signals inside its ``with`` block.

    Raises:
        InterruptedRunError: in the main thread, on a signal; inside :meth:`waited_for`, at its end or on a
            second signal.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self._patient = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():  # signals reach only that one
            self._before = {number: signal.signal(number, self._requested) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

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
