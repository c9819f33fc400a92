"""What SIGINT and SIGTERM do to a run: the step in work is finished and saved; anything else ends at once."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from taco_kd.errors import InterruptedRunError
from taco_kd.launch import launched
from taco_kd.progress import notice
from taco_kd.signals import StopSignals

TOGETHER_S, TOGETHER_LAUNCHED_S = 0.5, 5.0
"""A signal that follows another so soon is the same request: sent to this process and to its group by timeout
or a cluster, or handed on by torchrun besides."""


class StopRequests(StopSignals):
    """Handles the signals inside its ``with`` block.

    Args:
        how_to_go_on: the end of the line that the user reads; none by default.

    Raises:
        InterruptedRunError: in the main thread, on a signal; inside :meth:`after_the_step` on a second one.
    """

    def __init__(self, how_to_go_on: str = "") -> None:
        super().__init__()
        self.requested = False
        """whether to stop after the step; looked at inside ``after_the_step``"""
        self.how_to_go_on = how_to_go_on
        self._patient = False
        self._since = -math.inf
        self._process = os.getpid()

    @contextmanager
    def after_the_step(self) -> Iterator[None]:
        """A block that looks at ``requested`` once a step and ends by itself."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def _requested(self, number: int, frame: object) -> None:
        if os.getpid() != self._process:  # a worker that was forked off: the run ends it when it ends
            return
        first, self.requested = not self.requested, True
        if self._patient and first:
            self._since = time.monotonic()
            notice("Stopping: finishing the step and saving it; once more to stop at once.")
            return
        soon = TOGETHER_LAUNCHED_S if launched() else TOGETHER_S
        if self._patient and time.monotonic() - self._since < soon:
            return
        raise InterruptedRunError("; ".join(filter(None, ("stopped at once", self.how_to_go_on))))
