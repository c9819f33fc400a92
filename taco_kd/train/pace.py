"""Where a run stands and how long it still takes, from the lines of its log. Needs no torch."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SMOOTH_STEPS = 20
"""Steps that a smoothed figure looks back over, more or less."""

KEPT = 4096
"""Points of a curve that are kept; of longer runs every second one, every fourth, ..."""


@dataclass
class Curve:
    """Values over steps, thinned as they grow."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    _every: int = 1
    _seen: int = 0

    def add(self, step: int, value: float) -> None:
        self._seen += 1
        if not math.isfinite(value) or self._seen % self._every:
            return
        self.steps.append(step)
        self.values.append(value)
        if len(self.values) > KEPT:
            self.steps, self.values, self._every = self.steps[1::2], self.values[1::2], self._every * 2


class Pace:
    """Takes in lines of a log and evaluations; figures that a line lacks are None.

    Args:
        offset: steps of the stages before.
        whole: steps of all stages; None where that is not known.
        batch_size: images of a step, for lines that do not say how long it took.

    Attributes:
        last: the last line.
        loss: smoothed.
        step_s: seconds of a step, smoothed.
        waiting: share of them spent waiting for data.
        skipped: steps whose loss was not finite.
        unreadable: files of images that could not be read.
        evaluations: AP (0..1) over steps, ``best`` the highest.
    """

    def __init__(self, offset: int = 0, whole: int | None = None, batch_size: int | None = None) -> None:
        self.offset, self.whole, self._batch_size = offset, whole, batch_size
        self.last: dict[str, Any] = {}
        self.losses, self.evaluations = Curve(), Curve()
        self.skipped = 0
        self.unreadable: set[str] = set()
        self._recent: deque[tuple[float, float | None, float]] = deque(maxlen=SMOOTH_STEPS)
        self._loss: float | None = None

    def add(self, line: Mapping[str, Any]) -> None:
        """One step, as the log has it."""
        self.last = dict(line)
        self.unreadable.update(line.get("quarantined") or ())
        loss = line.get("loss")
        if line.get("skipped"):
            self.skipped += 1
        elif isinstance(loss, int | float) and math.isfinite(loss):
            # Until there are enough steps this is their plain mean.
            share = max(1 / SMOOTH_STEPS, 1 / (len(self.losses.values) + 1))
            self._loss = loss if self._loss is None else self._loss + share * (loss - self._loss)
            self.losses.add(self.step, float(loss))
        images = float(line.get("images_per_s") or 0.0)
        seconds = line.get("step_s")
        if seconds is None and images > 0 and self._batch_size is not None:
            seconds = self._batch_size / images
        if seconds is not None:
            self._recent.append((float(seconds), line.get("data_wait_s"), images * float(seconds)))

    def evaluated(self, step: int, ap: float) -> None:
        self.evaluations.add(self.offset + step, ap)

    @property
    def step(self) -> int:
        """Steps done, of all stages."""
        return self.offset + int(self.last.get("step") or 0)

    @property
    def loss(self) -> float | None:
        return self._loss

    @property
    def step_s(self) -> float | None:
        return sum(s for s, _, _ in self._recent) / len(self._recent) if self._recent else None

    @property
    def images_per_s(self) -> float | None:
        """Over the last steps; as the last line says it, where no line says how long a step took."""
        seconds = sum(s for s, _, _ in self._recent)
        if seconds > 0:
            return sum(images for _, _, images in self._recent) / seconds
        value = self.last.get("images_per_s")
        return None if value is None else float(value)

    @property
    def waiting(self) -> float | None:
        timed = [(s, wait) for s, wait, _ in self._recent if wait is not None]
        total = sum(s for s, _ in timed)
        return min(1.0, sum(wait for _, wait in timed) / total) if total > 0 else None

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and AP of the best evaluation, the first of equals."""
        if not self.evaluations.values:
            return None
        place = max(range(len(self.evaluations.values)), key=self.evaluations.values.__getitem__)
        return self.evaluations.steps[place], self.evaluations.values[place]

    @property
    def last_ap(self) -> tuple[int, float] | None:
        found = self.evaluations
        return (found.steps[-1], found.values[-1]) if found.values else None

    def seconds_left(self, step_s: float | None = None) -> float | None:
        """At the smoothed pace, or at that of ``step_s``; None where it cannot be told."""
        pace = step_s if step_s is not None else self.step_s
        return None if pace is None or self.whole is None else max(0, self.whole - self.step) * pace

    def figures(self) -> list[tuple[str, str]]:
        """What is to be shown, as (name, value) in words; what is not known is left out."""
        last = self.last
        best, ap, wait = self.best, self.last_ap, self.waiting
        rows = [
            ("loss", None if self.loss is None else f"{self.loss:.3g}"),
            ("lr", _of(last.get("lr"), "{:.2g}")),
            ("images/s", _of(self.images_per_s, "{:.3g}")),
            ("data wait", None if wait is None else f"{100 * wait:.0f} %"),
            ("memory", _of(last.get("memory_mb"), "{:,.0f} MB")),
            ("AP", None if ap is None else f"{100 * ap[1]:.1f} at {ap[0]:,}"),
            ("best", None if best is None or best == ap else f"{100 * best[1]:.1f} at {best[0]:,}"),
            ("skipped", str(self.skipped) if self.skipped else None),
            ("unreadable", str(len(self.unreadable)) if self.unreadable else None),
        ]
        return [(name, value) for name, value in rows if value is not None]

    def terms(self) -> list[tuple[str, str]]:
        """The terms of the last loss."""
        terms = self.last.get("terms") or {}
        return [(name, "not finite" if v is None else f"{v:.3g}") for name, v in terms.items()]


def _of(value: float | None, form: str) -> str | None:
    return None if value is None else form.format(value)


def clock(seconds: float | None) -> str:
    """
    >>> clock(75.4), clock(7260), clock(200_000), clock(None)
    ('1:15', '2:01:00', '2 d 7:33:20', '?')
    """
    if seconds is None or not math.isfinite(seconds):
        return "?"
    days, rest = divmod(round(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    short = f"{hours}:{minutes:02}:{rest:02}" if hours or days else f"{minutes}:{rest:02}"
    return f"{days} d {short}" if days else short


def in_words(pairs: Sequence[tuple[str, str]]) -> str:
    """
    >>> in_words([("loss", "1.2"), ("AP", "30.1 at 500")])
    'loss 1.2, AP 30.1 at 500'
    """
    return ", ".join(f"{name} {value}" for name, value in pairs)
