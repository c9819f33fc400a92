"""The simulations of ``benchmarks/`` in small: slow, and still only a check that nothing is badly wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.slow


def simulated(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "coverage.py"), *words, "--resamples", "200"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def percentages(label: str, text: str) -> list[float]:
    return [float(value) for value in re.findall(rf"^ *{label} +([\d.]+) %", text, flags=re.MULTILINE)]


def test_intervals_cover_the_truth_with_rare_classes() -> None:
    text = simulated("images", "--trials", "60", "--population", "3000", "--images", "150")
    ours, textbook = percentages("BCa", text), percentages("textbook BCa", text)
    assert len(ours) == len(textbook) == 3  # AP of either, and the difference
    assert min(ours) >= 85  # 95 expected; below 85 has a probability of 0.1 %
    assert sum(ours) > sum(textbook)


def test_arms_of_seeds_are_covered() -> None:
    text = simulated("seeds", "--trials", "30", "--population", "1000", "--images", "120")
    found = percentages(r"\d seeds, images and seeds", text)
    assert len(found) == 3
    assert min(found) >= 80


def test_equal_detectors_are_seldom_called_different() -> None:
    text = simulated("verdicts", "--trials", "60", "--population", "2000", "--images", "150")
    assert percentages("verdict", text)[0] <= 13
    assert percentages("swap test", text)[0] <= 15


def test_planned_numbers_of_images_have_the_power() -> None:
    text = simulated("plan", "--trials", "8", "--population", "3000", "--images", "150")
    power = [float(value) for value in re.findall(r"power is (\d+) %", text)]
    rare_fast, rare_slow, equal_fast, _ = power
    assert rare_fast <= 85
    assert rare_slow >= 80
    assert equal_fast == pytest.approx(80, abs=15)
