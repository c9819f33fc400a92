"""All close pairs of a million random 64-bit hashes with planted ones: are all found, and how fast?

    python benchmarks/hash_search.py [--count 1000000] [--planted 1000] [--distance 3] [--threshold 3]

Compared, on a part that both can do in turn: our search against comparing every pair, in the same process.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from taco_kd.data import hash_search
from taco_kd.data.hash_search import close_pairs, pack, plan


def hashes_with_pairs(count: int, planted: int, distance: int, bits: int, seed: int):
    """[count, bits] random hashes; ``planted`` disjoint pairs among them differ in ``distance`` bits."""
    rng = np.random.default_rng(seed)
    hashes = rng.random((count, bits), dtype=np.float32) < 0.5
    members = rng.choice(count, 2 * planted, replace=False).reshape(planted, 2)
    for first, second in members:
        hashes[second] = hashes[first]
        hashes[second, rng.choice(bits, distance, replace=False)] ^= True
    return hashes, {tuple(sorted(map(int, pair))) for pair in members}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--planted", type=int, default=1000)
    parser.add_argument("--distance", type=int, default=3)
    parser.add_argument("--threshold", type=int, default=3)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--part", type=int, default=20_000, help="hashes of the comparison with all pairs")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    seconds = {"multi-index": [], "all pairs": []}
    hashes, _ = hashes_with_pairs(options.part, options.part // 100, options.distance, options.bits, seed=1)
    for _ in range(options.rounds):
        began = time.process_time()
        ours = close_pairs(hashes, options.threshold)
        seconds["multi-index"].append(time.process_time() - began)
        began = time.process_time()
        words = pack(hashes)
        every = hash_search._joined(list(hash_search._compare_all(words, options.threshold)), options.part)
        seconds["all pairs"].append(time.process_time() - began)
        assert all((a == b).all() for a, b in zip(ours, every, strict=True))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratio = medians["all pairs"] / medians["multi-index"]
    print(
        f"{options.part:,} hashes, equal results: multi-index {medians['multi-index']:.2f} s, "
        f"all pairs {medians['all pairs']:.2f} s, ratio {ratio:.1f}"
    )

    for count in (options.count // 4, options.count):
        planted = options.planted * count // options.count
        hashes, expected = hashes_with_pairs(count, planted, options.distance, options.bits, seed=0)
        began, wall = time.process_time(), time.perf_counter()
        found = close_pairs(hashes, options.threshold)
        cpu, wall = time.process_time() - began, time.perf_counter() - wall
        pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
        chunks = [(len(c.bits), c.radius) for c in plan(count, options.bits, options.threshold)]
        print(
            f"{count:,} hashes, threshold {options.threshold}: {len(expected & pairs)} of {len(expected)} "
            f"planted pairs found, {len(pairs - expected)} by chance; {cpu:.1f} s of one core "
            f"({wall:.1f} s on the clock); chunks (bits, radius) {chunks}; "
            f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
        )


if __name__ == "__main__":
    main()
