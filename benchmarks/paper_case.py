"""The paper's own case re-enacted: two synthetic detectors of about 24 and 26 mAP on one validation set.

    python benchmarks/paper_case.py ANNOTATIONS.json --out FOLDER   # a.json and b.json for taco-kd compare
    python benchmarks/paper_case.py ANNOTATIONS.json --pairs 40     # how often is +2.2 called significant?

A pair is two detectors, each with its own strengths and luck, whose skill is turned until they have the two
APs on these images: what a paper would print as 23.9 and 26.1.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import Detector, detect

from taco_kd.evaluate.coco_metrics import evaluate_coco
from taco_kd.evaluate.comparison import Comparison, compare_predictions

Json = dict[str, Any]
APS = (0.239, 0.261)
"""The paper's baseline and its distilled model (Table I)."""


def tuned(ground_truth: Mapping[str, Any], ap: float, *, seed: int, tolerance: float = 0.0005) -> list[Json]:
    """Results of a synthetic detector with an AP of ``ap`` on ``ground_truth``, by bisection of its skill."""
    low, high = -4.0, 4.0
    best: tuple[float, list[Json]] = (np.inf, [])
    for _ in range(18):
        skill = (low + high) / 2
        found = detect(ground_truth, Detector(skill, identity=seed, clutter=60), seed=seed)
        error = (evaluate_coco(ground_truth, found).ap or 0.0) - ap
        if abs(error) < abs(best[0]):
            best = (error, found)
        if abs(error) < tolerance:
            break
        low, high = (skill, high) if error < 0 else (low, skill)
    return best[1]


def pair(ground_truth: Mapping[str, Any], number: int) -> dict[str, list[Json]]:
    """The ``number``-th pair."""
    return {
        name: tuned(ground_truth, ap, seed=2 * number + place)
        for place, (name, ap) in enumerate(zip(("a", "b"), APS, strict=True))
    }


def summary(found: list[Comparison]) -> str:
    """What the pairs were called, and how wide their intervals were."""
    differences = [comparison.differences[0] for comparison in found]
    verdicts = Counter(difference.outcome for difference in differences)
    errors = [100 * difference.interval.standard_error for difference in differences]
    p_values = [difference.p_value for difference in differences]
    gains = [100 * difference.interval.estimate for difference in differences]
    return (
        f"{len(found)} pairs, difference {min(gains):.1f} to {max(gains):.1f} points: "
        + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        + f"; p {np.median(p_values):.2f} in the median (quartiles {np.quantile(p_values, 0.25):.2f} to "
        f"{np.quantile(p_values, 0.75):.2f}); standard error {np.median(errors):.2f} points "
        f"({min(errors):.2f} to {max(errors):.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--out", type=Path, help="write a.json and b.json of the first pair there")
    parser.add_argument("--pairs", type=int, default=0, help="compare so many pairs")
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    ground_truth = json.loads(options.annotations.read_text(encoding="utf-8"))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        for name, found in pair(ground_truth, 0).items():
            (options.out / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
            print(f"{options.out / name}.json: AP {100 * evaluate_coco(ground_truth, found).ap:.1f}")
    compared = [
        compare_predictions(ground_truth, pair(ground_truth, number), resamples=options.resamples)
        for number in range(options.pairs)
    ]
    if compared:
        print(summary(compared))


if __name__ == "__main__":
    main()
