"""Our eager forward against the bare library module: what does the common interface cost?

    python benchmarks/forward_overhead.py [MODEL ...] [--rounds 30] [--processor-time]

Both sides run the same weights on the same normalised images in one process, in turn (A B B A ...), in eval
mode without gradients. Printed: the median of each, and the median and quartiles of the ratios of
neighbouring pairs. On a machine that is shared with others, ``--processor-time`` with OMP_NUM_THREADS=1 is
steadier than the wall clock.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import torch

from taco_kd.models import zoo
from taco_kd.models.detector import Detector


def bare_call(model: Detector, images: torch.Tensor) -> Callable[[], object]:
    """The library's own module on images that are normalised already."""
    ready = model.normalised(images)
    network = model.network
    if hasattr(network, "config"):  # transformers
        return lambda: network(pixel_values=ready)
    return lambda: network(ready)  # ultralytics


def seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    call()
    return clock() - began


def alternate(
    ours: Callable[[], object], bare: Callable[[], object], rounds: int, clock: Callable[[], float]
) -> list[tuple[float, float]]:
    """Seconds of both sides, measured in turn: ours first in even rounds, the bare module in odd ones."""
    pairs = []
    for turn in range(rounds):
        if turn % 2 == 0:
            ours_s = seconds(ours, clock)
            bare_s = seconds(bare, clock)
        else:
            bare_s = seconds(bare, clock)
            ours_s = seconds(ours, clock)
        pairs.append((ours_s, bare_s))
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=["rtdetr-nano", "rtdetr-r50"])
    parser.add_argument("--rounds", type=int, default=30, help="pairs of forwards of each model")
    parser.add_argument("--processor-time", action="store_true", help="count the process's own seconds")
    given = parser.parse_args()
    clock = time.process_time if given.processor_time else time.perf_counter
    print("model                     ours ms   bare ms   ours/bare, median of pairs [quartiles]")
    for name in given.models:
        entry = zoo.find(name)
        model = entry.build([f"class {i}" for i in range(60)]).eval()
        images = torch.rand(1, 3, entry.image_size, entry.image_size)
        with torch.inference_mode():
            ours, bare = functools.partial(model, images), bare_call(model, images)
            alternate(ours, bare, 3, clock)  # warm up
            pairs = alternate(ours, bare, given.rounds, clock)
        low, ratio, high = statistics.quantiles((a / b for a, b in pairs), n=4)
        ours_ms, bare_ms = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
        print(f"{name:<24} {ours_ms:>8.2f}  {bare_ms:>8.2f}   {ratio:.3f} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
