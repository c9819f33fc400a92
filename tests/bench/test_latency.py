"""The stopwatch, on clocks that tell what we want them to."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from taco_kd.bench.latency import Effort, measure, measure_interleaved, stopwatch, warm_up

CPU = torch.device("cpu")


class FakeWatch:
    """A clock for named calls; keeps the order they were run in."""

    def __init__(self, durations_ms: dict[str, Callable[[int], float]]) -> None:
        self.durations_ms = durations_ms
        self.order: list[str] = []

    def call(self, name: str) -> Callable[[], object]:
        return lambda: name

    def __call__(self, call: Callable[[], object]) -> float:
        name = str(call())
        self.order.append(name)
        return self.durations_ms[name](self.order.count(name))


def effort(iterations: int = 10, seconds: float = 0.0, window: int = 4, cap: float = 100.0) -> Effort:
    return Effort(iterations, seconds, window, cap)


def test_warm_up_ends_after_three_windows_that_agree() -> None:
    # 8 slow calls, two windows; then steady: windows 3, 4 and 5 agree
    watch = FakeWatch({"a": lambda i: 30.0 if i <= 4 else 20.0 if i <= 8 else 10.0})
    timing = warm_up(watch.call("a"), effort(), watch)
    assert timing.stable
    assert timing.warm_up_iterations == 20
    assert timing.expected_ms == 10.0
    assert timing.times_ms == []


@pytest.mark.parametrize(("drift", "stable"), [(1.009, True), (1.011, False)])
def test_two_percent_over_three_windows_is_the_limit(drift: float, stable: bool) -> None:
    watch = FakeWatch({"a": lambda i: 10.0 * drift ** ((i - 1) // 4)})
    # a cap that ends the warm-up after three windows
    assert warm_up(watch.call("a"), effort(cap=0.0), watch).stable is stable


def test_a_restless_call_ends_at_the_cap_and_says_so() -> None:
    watch = FakeWatch({"a": lambda i: 100.0 if (i // 4) % 2 else 10.0})
    timing = warm_up(watch.call("a"), effort(cap=2.0), watch)
    assert not timing.stable
    assert 12 < timing.warm_up_iterations < 60


def test_both_minima_hold() -> None:
    watch = FakeWatch({"fast": lambda i: 1.0, "slow": lambda i: 400.0})
    calls = {name: watch.call(name) for name in ("fast", "slow")}
    timings = measure_interleaved(calls, device=CPU, effort=effort(20, 2.0), watch=watch)
    assert sum(timings["fast"].times_ms) >= 2000
    assert len(timings["slow"].times_ms) >= 20
    assert len(timings["slow"].times_ms) < 40, "the slow one must not run as often as the fast one"


def test_turns_go_forwards_and_backwards() -> None:
    watch = FakeWatch({name: lambda i: 1.0 for name in "abc"})
    turns: list[str] = []
    measure_interleaved(
        {name: watch.call(name) for name in "abc"},
        device=CPU,
        effort=effort(10),
        watch=watch,
        after_turn=turns.append,
    )
    assert "".join(turns[:12]) == "abccbaabccba"
    assert "".join(watch.order[36:48]) == "abccbaabccba", "12 calls each were warm-up; then one call a turn"


def test_every_sample_is_kept_in_order() -> None:
    durations = [5.0] * 12 + [1.0, 900.0, 2.0, 3.0, 800.0, 4.0, 6.0, 7.0, 8.0, 9.0]
    watch = FakeWatch({"a": lambda i: durations[i - 1]})
    timing = measure_interleaved({"a": watch.call("a")}, device=CPU, effort=effort(10), watch=watch)["a"]
    assert timing.times_ms == durations[12:]


def test_progress_reaches_its_end() -> None:
    watch = FakeWatch({"a": lambda i: 1.0})
    seen: list[tuple[int, int]] = []
    measure_interleaved(
        {"a": watch.call("a")},
        device=CPU,
        effort=effort(10),
        watch=watch,
        on_progress=lambda done, total, note="": seen.append((done, total)),
    )
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_the_real_clock_measures_a_sleep() -> None:
    timing = measure(lambda: time.sleep(0.004), device=CPU, min_iterations=5, min_seconds=0.0)
    assert len(timing.times_ms) >= 5
    assert min(timing.times_ms) >= 4.0


def test_efforts_suit_the_device() -> None:
    assert Effort.for_device(torch.device("cuda")).min_iterations >= 299, "enough for a 99th percentile"
    assert Effort.for_device(CPU, min_iterations=7, min_seconds=0.5).min_iterations == 7
    assert Effort.for_device(CPU, min_seconds=0.0).min_seconds == 0.0


@pytest.mark.gpu
def test_cuda_events_wait_for_the_device() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda")
    matrix = torch.rand(4096, 4096, device=device)
    watch = stopwatch(device)
    watch(lambda: matrix @ matrix)
    # two products take longer than one: an unsynchronised clock would only see their launches
    assert watch(lambda: [matrix @ matrix for _ in range(8)]) > 3 * watch(lambda: matrix @ matrix)
