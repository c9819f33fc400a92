"""How often 95 % intervals hold the truth: synthetic detectors on sets drawn from a population.

    python benchmarks/coverage.py images     # AP and its difference, 225 and 500 images
    python benchmarks/coverage.py balanced   # the same with ten equally frequent classes
    python benchmarks/coverage.py seeds      # arms of 2, 3 and 5 training seeds
    python benchmarks/coverage.py verdicts   # false alarms of interval, swap test and verdict
    python benchmarks/coverage.py plan       # does the planned number of images do?

Two detectors are run over a population of thousands of images with TACO's class frequencies. Their AP on all
of it is known; every trial draws a validation set with replacement. ``--cache FOLDER`` keeps the trials done,
so that a stopped run goes on. Textbook: percentile and BCa intervals without the corrections of
``taco_kd.evaluate.intervals``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import TACO_BOXES, Detector, detect, scenes

from taco_kd.evaluate.intervals import TAILS, bca_ends, interval_of
from taco_kd.evaluate.matching import match
from taco_kd.evaluate.power import plan, power_of, rate_of
from taco_kd.evaluate.resampling import Draws, contrast, each_image_alone
from taco_kd.evaluate.swap import interleave, swap_test
from taco_kd.evaluate.verdict import outcome
from taco_kd.evaluate.weighted_ap import Matches

Json = dict[str, Any]
A, B = Detector(0.0, identity=1), Detector(0.2, identity=2)
SEED_SPREAD, SEEDS = 0.5, 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=list(EXPERIMENTS))
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--population", type=int, default=8000)
    parser.add_argument("--images", type=int, nargs="+", help="sizes of the validation sets")
    parser.add_argument("--cache", type=Path, help="folder for the trials that are done")
    options = parser.parse_args()
    EXPERIMENTS[options.what](options)


def images(options: argparse.Namespace, class_boxes: tuple[int, ...] = TACO_BOXES) -> None:
    """Coverage of the AP expected on sets of this size, and of the population's difference."""
    population = scenes(options.population, seed=1, class_boxes=class_boxes)
    a, b = (match(population, detect(population, d, seed=k)) for k, d in enumerate((A, B), start=1))
    truth = float(b.ap()[0] - a.ap()[0])
    print(
        f"population: {options.population} images, AP {100 * a.ap()[0]:.2f} and {100 * b.ap()[0]:.2f}, "
        f"difference {100 * truth:+.2f}"
    )
    for number in options.images or (225, 500):
        found = list(
            trials(
                options,
                f"{options.what}-{number}",
                lambda rng, number=number: _one_set(rng, a, b, number, options),
            )
        )
        expected = _expected(a, b, number)
        print(f"\n{number} images, {len(found)} sets")
        for what, values in expected.items():
            each = [trial[what] for trial in found]
            errors = np.array([trial["errors"] for trial in each])
            scatter = np.std([trial["estimate"] for trial in each])
            print(
                f"  {what}: expected {100 * values:+.2f}; standard deviation over sets {100 * scatter:.2f}, "
                f"standard error {100 * _rms(errors[:, 0]):.2f} (bootstrap alone "
                f"{100 * _rms(errors[:, 1]):.2f}, jackknife alone {100 * _rms(errors[:, 2]):.2f})"
            )
            for method in each[0]["ends"]:
                ends = np.array([trial["ends"][method] for trial in each])
                width = 100 * np.ptp(ends, axis=1).mean()
                text = f"    {method:20s} {coverage(ends, values)}, mean width {width:.1f}"
                if what == "difference":
                    text += f"; of the population's: {coverage(ends, truth)}"
                print(text)


def _one_set(
    rng: np.random.Generator, a: Matches, b: Matches, number: int, options: argparse.Namespace
) -> Json:
    draws, ours, theirs = _drawn(rng, a, b, number, options)
    values = {"AP a": [ours], "AP b": [theirs], "difference": contrast(ours, theirs, paired=False)}
    found = {}
    for what, parts in values.items():
        interval = interval_of(parts, draws)
        mean = np.sum([part.mean(axis=0) for part in parts], axis=0)
        plain = mean[draws.resampled]
        textbook = bca_ends(float(mean[0]), plain, mean[draws.jackknife])
        percentile = np.quantile(plain, TAILS).tolist()
        found[what] = {
            "estimate": interval.estimate,
            "errors": [interval.standard_error, interval.bootstrap_error, interval.jackknife_error],
            "ends": {
                "BCa": interval.bca or interval.basic,
                "basic": interval.basic,
                "textbook BCa": textbook or (2 * mean[0] - np.array(percentile[::-1])).tolist(),
                "textbook percentile": percentile,
            },
        }
    return found


def seeds(options: argparse.Namespace) -> None:
    """Coverage of the difference of arms of several training seeds, in images and seeds."""
    population = scenes(min(options.population, 3000), seed=1)
    arms = [
        [
            match(
                population,
                detect(population, Detector(skill, identity=k, seed_spread=SEED_SPREAD), seed=100 * k + s),
            )
            for s in range(SEEDS)
        ]
        for k, skill in ((1, 0.0), (2, 0.2))
    ]
    aps = np.array([[one.ap()[0] for one in arm] for arm in arms])
    truth = float(aps[1].mean() - aps[0].mean())
    print(
        f"{SEEDS} seeds an arm, AP {100 * aps[0].mean():.2f} and {100 * aps[1].mean():.2f}, "
        f"standard deviation over seeds {100 * aps.std(axis=1, ddof=1).mean():.2f}"
    )
    number = (options.images or [225])[0]

    def one(rng: np.random.Generator) -> Json:
        chosen = np.sort(rng.integers(0, len(population["images"]), number))
        draws = Draws.make(
            each_image_alone(number), resamples=options.resamples, seed=int(rng.integers(1 << 30))
        )
        picked = [rng.integers(0, SEEDS, 5) for _ in arms]
        values = [
            np.stack([arm[k].of_images(chosen).ap(draws.weights) for k in own])
            for arm, own in zip(arms, picked, strict=True)
        ]
        found: Json = {}
        for count in (2, 3, 5):
            interval = interval_of(contrast(values[0][:count], values[1][:count], paired=False), draws)
            images_only = interval_of([v[:count].mean(axis=0)[None] for v in (values[1], -values[0])], draws)
            for name, each in (("images and seeds", interval), ("images only", images_only)):
                found[f"{count} seeds, {name}"] = [each.estimate, each.low, each.high, each.standard_error]
        return found

    done = list(trials(options, f"seeds-{number}", one))
    print(f"{number} images, {len(done)} sets")
    for what in done[0]:
        rows = np.array([trial[what] for trial in done])
        width = 100 * np.ptp(rows[:, 1:3], axis=1).mean()
        print(
            f"  {what:28s} {coverage(rows[:, 1:3], truth)}, mean width {width:.1f}; "
            f"standard deviation {100 * rows[:, 0].std():.2f}, standard error {100 * _rms(rows[:, 3]):.2f}"
        )


def verdicts(options: argparse.Namespace) -> None:
    """False alarms: two detectors of the same kind that differ in luck only."""
    population = scenes(options.population, seed=1)
    a, b = (match(population, detect(population, A, seed=seed)) for seed in (1, 2))
    print(f"AP in the population {100 * a.ap()[0]:.2f} and {100 * b.ap()[0]:.2f}: luck only")
    for number in options.images or (225,):

        def one(rng: np.random.Generator, number: int = number) -> Json:
            chosen = np.sort(rng.integers(0, len(a.image_ids), number))
            both = interleave(a.of_images(chosen), b.of_images(chosen))
            side = rng.integers(0, 2, number)  # which of the two made an image is a coin: truly no difference
            one, other = (both.of_images(2 * np.arange(number) + k) for k in (side, 1 - side))
            draws = Draws.make(
                each_image_alone(number), resamples=options.resamples, seed=int(rng.integers(1 << 30))
            )
            values = [each.ap(draws.weights)[None] for each in (one, other)]
            interval = interval_of(contrast(*values, paired=False), draws)
            p_value = swap_test(one, other, swaps=options.resamples, seed=draws.seed)
            return {
                "swap test": p_value <= 0.05,
                "interval": not interval.low <= 0 <= interval.high,
                "verdict": outcome(interval, p_value) != "not distinguishable",
            }

        done = list(trials(options, f"verdicts-{number}", one))
        print(f"{number} images, {len(done)} sets: wrongly called different at 5 %")
        for what in done[0]:
            print(f"  {what:10s} {share(np.array([trial[what] for trial in done]))}")


def plans(options: argparse.Namespace) -> None:
    """The planned numbers of images, and the power that sets of these sizes really have."""
    number = (options.images or [225])[0]
    for name, class_boxes in (("TACO's frequencies", TACO_BOXES), ("ten equal classes", (480,) * 10)):
        population = scenes(options.population, seed=1, class_boxes=class_boxes)
        a, b = (match(population, detect(population, d, seed=k)) for k, d in enumerate((A, B), start=1))
        aim = 0.03

        def one(rng: np.random.Generator) -> Json:
            draws, ours, theirs = _drawn(rng, a, b, number, options)  # noqa: B023
            parts = contrast(ours, theirs, paired=False)
            rate = rate_of(parts, draws)
            found = plan(aim, interval_of(parts, draws), images=number, seeds=1, rate=rate)  # noqa: B023
            return {"needed": found.images_needed, "rate": rate.measured}

        done = list(trials(options, f"plan-{len(class_boxes)}-{number}", one))
        few, many = (np.array([trial["needed"][k] or np.inf for trial in done]) for k in (0, 1))
        print(
            f"{name}: to find {100 * aim:g} points, planned from {len(done)} sets of {number} images; "
            f"error falls with n^-{np.median([trial['rate'] for trial in done]):.2f}"
        )
        for label, planned in (("at the square root", few), ("at the measured rate", many)):
            size = int(np.median(planned))
            error = _scatter(a, b, size)
            print(
                f"  {label:20s} median {size:,} images (90 % of plans: {np.quantile(planned, 0.05):,.0f} to "
                f"{np.quantile(planned, 0.95):,.0f}); their power is {100 * power_of(aim, error):.0f} %"
            )


def trials(
    options: argparse.Namespace, name: str, one: Callable[[np.random.Generator], Json]
) -> Iterator[Json]:
    """Trial k has seed k; those in the cache are not done again."""
    cache = None
    done: list[Json] = []
    if options.cache is not None:
        options.cache.mkdir(parents=True, exist_ok=True)
        cache = options.cache / f"{name}-{options.population}-{options.resamples}.jsonl"
        if cache.is_file():
            done = [json.loads(line) for line in cache.read_text(encoding="utf-8").splitlines()]
    yield from done[: options.trials]
    for k in range(len(done), options.trials):
        found = one(np.random.default_rng([k, 7]))
        if cache is not None:
            with cache.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(found, default=float) + "\n")
        yield json.loads(json.dumps(found, default=float))


def _drawn(
    rng: np.random.Generator, a: Matches, b: Matches, number: int, options: argparse.Namespace
) -> tuple[Draws, Any, Any]:
    chosen = np.sort(rng.integers(0, len(a.image_ids), number))
    draws = Draws.make(each_image_alone(number), resamples=options.resamples, seed=int(rng.integers(1 << 30)))
    ours, theirs = (each.of_images(chosen).ap(draws.weights)[None] for each in (a, b))
    return draws, ours, theirs


def _expected(a: Matches, b: Matches, number: int, sets: int = 1000) -> dict[str, float]:
    """AP to be expected on sets of so many images, by many of them."""
    values = _on_sets(a, b, number, sets)
    return {
        "AP a": float(values[0].mean()),
        "AP b": float(values[1].mean()),
        "difference": float((values[1] - values[0]).mean()),
    }


def _scatter(a: Matches, b: Matches, number: int, sets: int = 300) -> float:
    values = _on_sets(a, b, number, sets)
    return float((values[1] - values[0]).std())


def _on_sets(a: Matches, b: Matches, number: int, sets: int) -> Any:
    rng = np.random.default_rng([number, 11])
    total = len(a.image_ids)
    found = []
    for start in range(0, sets, 50):
        batch = range(min(50, sets - start))
        rows = [np.bincount(rng.integers(0, total, number), minlength=total) for _ in batch]
        found.append(np.stack([each.ap(np.stack(rows)) for each in (a, b)]))
    return np.concatenate(found, axis=1)


def coverage(ends: Any, truth: float) -> str:
    return share((ends[:, 0] <= truth) & (truth <= ends[:, 1]))


def share(hits: Any) -> str:
    value = float(np.mean(hits))
    return f"{100 * value:.1f} % (+- {100 * math.sqrt(value * (1 - value) / len(hits)):.1f})"


def _rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


EXPERIMENTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "images": images,
    "balanced": lambda options: images(options, (480,) * 10),
    "seeds": seeds,
    "verdicts": verdicts,
    "plan": plans,
}

if __name__ == "__main__":
    main()
