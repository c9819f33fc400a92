"""The stopwatch: warm up until it is steady, then measure models in turns, and keep every sample.

Nothing is clipped or dropped. Several models are measured in the order A B C, C B A, A B C ..., so that a
machine that heats up or gets busy slows all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import cycle

import torch

from taco_kd.progress import Tick

Call = Callable[[], object]
Stopwatch = Callable[[Call], float]
"""Runs a call and returns the milliseconds it took."""

AGREE_WITHIN = 0.02
"""Warm-up ends when the medians of three windows in a row differ by no more than this share."""
TURNS = 10
"""Turns each model gets; even, so that every model is as often early as late."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: both minima hold, and warm-up ends at its cap even when it is not steady."""

    min_iterations: int
    min_seconds: float
    warm_up_window: int
    max_warm_up_seconds: float

    @classmethod
    def for_device(
        cls, device: torch.device, *, min_iterations: int | None = None, min_seconds: float | None = None
    ) -> Effort:
        """What suits the device; on a GPU enough samples for a 99th percentile."""
        gpu = device.type == "cuda"
        seconds = 5.0 if min_seconds is None else min_seconds
        return cls(
            min_iterations=(300 if gpu else 30) if min_iterations is None else min_iterations,
            min_seconds=seconds,
            warm_up_window=20 if gpu else 5,
            max_warm_up_seconds=2 * seconds,
        )


@dataclass
class Timing:
    """Samples of one model in milliseconds, in the order they were taken."""

    times_ms: list[float] = field(default_factory=list)
    warm_up_iterations: int = 0
    stable: bool = False
    """whether the warm-up became steady before its cap"""
    expected_ms: float = 0.0
    """median of the last warm-up window"""

    def is_enough(self, effort: Effort) -> bool:
        return len(self.times_ms) >= effort.min_iterations and sum(self.times_ms) >= 1e3 * effort.min_seconds


def stopwatch(device: torch.device) -> Stopwatch:
    """CUDA events on a GPU, ``time.perf_counter`` elsewhere."""
    return _on_cuda(device) if device.type == "cuda" else _on_cpu


def _on_cpu(call: Call) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def _on_cuda(device: torch.device) -> Stopwatch:
    def run(call: Call) -> float:
        with torch.cuda.device(device):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
            begin.record()
            call()
            end.record()
            end.synchronize()
            return float(begin.elapsed_time(end))

    return run


def measure(
    call: Call,
    *,
    device: torch.device,
    min_iterations: int | None = None,
    min_seconds: float | None = None,
    watch: Stopwatch | None = None,
) -> Timing:
    """Time one call again and again; see ``measure_interleaved``."""
    effort = Effort.for_device(device, min_iterations=min_iterations, min_seconds=min_seconds)
    return measure_interleaved({"": call}, device=device, effort=effort, watch=watch)[""]


def measure_interleaved(
    calls: Mapping[str, Call],
    *,
    device: torch.device,
    effort: Effort | None = None,
    watch: Stopwatch | None = None,
    after_turn: Callable[[str], None] | None = None,
    on_progress: Tick | None = None,
) -> dict[str, Timing]:
    """Time several calls in turns, forwards and backwards through the list.

    Args:
        calls: what to time, by name.
        effort: how long; by default what suits ``device``.
        watch: the stopwatch; by default that of ``device``.
        after_turn: called with a name when its turn ends, outside the clock: to look at the device.

    Returns:
        The samples of each call.
    """
    effort = effort or Effort.for_device(device)
    watch = watch or stopwatch(device)
    timings = {name: warm_up(call, effort, watch) for name, call in calls.items()}
    per_turn = {name: _per_turn(timing, effort) for name, timing in timings.items()}
    directions = cycle((list(calls), list(calls)[::-1]))
    turns = 0
    while not all(timing.is_enough(effort) for timing in timings.values()):
        for name in next(directions):
            timings[name].times_ms += [watch(calls[name]) for _ in range(per_turn[name])]
            if after_turn is not None:
                after_turn(name)
        turns += 1
        if on_progress is not None:
            on_progress(min(turns, TURNS), TURNS)
    return timings


def warm_up(call: Call, effort: Effort, watch: Stopwatch) -> Timing:
    """Run ``call`` until it is steady or the cap is reached; at least three windows."""
    medians: list[float] = []
    spent_ms, iterations, stable = 0.0, 0, False
    while not stable and (len(medians) < 3 or spent_ms < 1e3 * effort.max_warm_up_seconds):
        window = sorted(watch(call) for _ in range(effort.warm_up_window))
        medians.append(window[len(window) // 2])
        spent_ms += sum(window)
        iterations += len(window)
        last = medians[-3:]
        stable = len(last) == 3 and max(last) <= (1 + AGREE_WITHIN) * min(last)
    return Timing([], iterations, stable, medians[-1])


def _per_turn(timing: Timing, effort: Effort) -> int:
    """Iterations of one turn, so that about ``TURNS`` of them are enough."""
    needed = max(effort.min_iterations, 1e3 * effort.min_seconds / max(timing.expected_ms, 1e-3))
    return max(1, -int(-needed // TURNS))
