"""SIGINT and SIGTERM, handled by a ``with`` block."""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any

from typing_extensions import Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals(ABC):
    """Handles the signals inside its ``with`` block, where this is the main thread: they reach no other."""

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._requested) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @abstractmethod
    def _requested(self, number: int, frame: object) -> None:
        """Called in the main thread for each signal; what it raises ends the block."""
