"""The live view of a training on stderr: lines that change on a terminal, one now and then elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from taco_kd.progress import console, notice
from taco_kd.train.observers import Begin
from taco_kd.train.pace import Pace, clock, in_words

if TYPE_CHECKING:
    from taco_kd.train.evaluations import Evaluated
    from taco_kd.train.loop import StepRecord

FIRST_LINE_S, LONGEST_GAP_S = 30.0, 600.0
"""In a file: seconds to the first line, and between two at most; in between, a tenth of the time so far."""

BETWEEN_EVALUATIONS_S = 10.0
"""In a file: evaluations that follow each other faster are not all told; the log has them."""


class LiveView:
    """Shows a run; an observer, and the tick of what has no steps (the teacher gate, an evaluation).

    Args:
        label: of the run.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._pace = Pace()
        self._note = ""
        self._began = self._told = time.monotonic()
        self._told_ap = -math.inf
        self._steps = 0  # done by this process
        self._step_s: float | None = None  # with everything between two steps: evaluations, checkpoints
        self._last: float | None = None
        self._live: Live | None = None
        self._done, self._total = 0, 0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """The tick of the stage, over all its parts; see ``taco_kd.progress.Tick``."""
        self._done, self._total, self._note = done, total, note
        self._show()

    def begin(self, begin: Begin) -> None:
        pace = Pace(begin.offset, begin.whole)
        pace.skipped, pace.unreadable = self._pace.skipped, self._pace.unreadable
        for line in begin.run.evaluations():
            pace.evaluated(line["step"], line["ap"])
        self._pace, self._last = pace, None
        self._done, self._total = begin.offset + begin.step, begin.whole
        if begin.step and not console.is_terminal:
            notice(f"{self.label}: goes on after step {begin.step:,} of {begin.steps_total:,}")

    def on_step(self, done: StepRecord) -> None:
        now = time.monotonic()
        if self._last is not None:
            # Smoothed in time, so that the estimate follows a change of pace within about a minute.
            taken = now - self._last
            share = max(min(1.0, taken / 60), 1 / (self._steps + 1))
            self._step_s = taken if self._step_s is None else self._step_s + share * (taken - self._step_s)
        self._last, self._steps = now, self._steps + 1
        self._pace.add(asdict(done))
        self._note = ""
        self._done, self._total = self._pace.step, self._pace.whole or self._total
        if not console.is_terminal:
            gap = min(LONGEST_GAP_S, max(FIRST_LINE_S, (now - self._began) / 10))
            if now - self._told >= gap and self._done < self._total:
                self._told = now
                notice(self._line())
        self._show()

    def on_evaluated(self, found: Evaluated) -> None:
        self._pace.evaluated(found.step, found.ap)
        self._note = ""
        now = time.monotonic()
        due = now - self._told_ap >= BETWEEN_EVALUATIONS_S or self._done >= self._total
        if not console.is_terminal and due:
            self._told_ap = now
            best = ", the best so far" if found.best else ""
            notice(
                f"{self.label}: step {self._pace.step:,}: AP {100 * found.ap:.1f} on {found.images:,} "
                f"images{best}"
            )
        self._show()

    def close(self) -> None:
        if self._live is not None:
            self._live.update(self._rendered(), refresh=True)
            self._live.stop()
            self._live = None
        elif self._done:
            notice(f"{self.label}: {self._done}/{self._total}")

    def _line(self) -> str:
        left = clock(self._pace.seconds_left(self._step_s))
        figures = in_words(self._pace.figures())
        return f"{self.label}: {self._done:,}/{self._total:,}, {figures}, {left} left"

    def _show(self) -> None:
        if not console.is_terminal:
            return
        if self._live is None:
            self._live = Live(console=console, refresh_per_second=4, get_renderable=self._rendered)
            self._live.start()

    def _rendered(self) -> RenderableType:
        pace = self._pace
        head = Table.grid(padding=(0, 1))
        finished = self._total and self._done >= self._total
        bar = ProgressBar(total=self._total or None, completed=self._done, width=28)
        left = pace.seconds_left(self._step_s)
        timing = f"{clock(time.monotonic() - self._began)}" + (f", {clock(left)} left" if left else "")
        mark: RenderableType = Text("✓", "green") if finished else self._spinner
        head.add_row(mark, self.label, bar, f"{self._done:,}/{self._total:,}", timing, Text(self._note))
        lines: list[RenderableType] = [head]
        for figures in (pace.figures(), pace.terms()):
            if figures:
                lines.append(row_of(figures))
        return Group(*lines)

    _spinner = Spinner("dots")


def row_of(pairs: Sequence[tuple[str, str]]) -> Text:
    """Names and values side by side."""
    text = Text("  ", overflow="fold")
    for place, (name, value) in enumerate(pairs):
        text.append(("   " if place else "") + name + " ", "dim")
        text.append(value)
    return text


@contextmanager
def live_view(label: str) -> Iterator[LiveView]:
    """The view for the duration of a block."""
    view = LiveView(label)
    try:
        yield view
    finally:
        view.close()
