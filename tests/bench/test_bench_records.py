"""Statistics by hand, and a record to JSON and back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from taco_kd.bench.projection import Projection
from taco_kd.bench.records import BenchRecord
from taco_kd.bench.statistics import median_interval_ms, p99_ms, percentile_ms
from taco_kd.errors import DataError


def record(times_ms: tuple[float, ...]) -> BenchRecord:
    return BenchRecord(
        model="rtdetr-nano",
        weights_sha256="ab" * 32,
        backend="torch eager",
        device="A processor",
        precision="fp32",
        batch=1,
        image_size=192,
        scope="model",
        threads=2,
        images="noise",
        times_ms=times_ms,
        warm_up_iterations=15,
        stable=True,
        parameters={"all": 10, "trainable": 9, "buffers": 3},
        gmacs=0.5,
        gflops=1.0,
        uncounted=("grid_sampler_2d",),
        paper_convention={"parameters_m": 1.0, "gflops": 0.9},
        device_state={"load": [0.1, 0.2]},
        throttle_reasons=("power cap",),
        projected=(Projection("Tesla T4", "torch eager fp32", 2.0, (1.5, 2.5), "a guess"),),
        environment={"torch": "2"},
        created="2025-01-01T00:00:00+00:00",
    )


def test_percentiles_by_hand() -> None:
    times = tuple(float(t) for t in (5, 1, 4, 2, 3))  # sorted: 1 2 3 4 5
    shown = record(times)
    assert shown.p50_ms == 3.0
    assert shown.p90_ms == pytest.approx(4.6)  # place 0.9 * 4 = 3.6: between 4 and 5
    assert shown.p95_ms == pytest.approx(4.8)
    assert shown.mean_ms == 3.0
    assert shown.p99_ms is None


def test_p99_needs_299_samples() -> None:
    times = [float(t) for t in range(299)]
    assert p99_ms(times[:-1]) is None
    assert p99_ms(times) == pytest.approx(0.99 * 298)


def test_outliers_stay_in() -> None:
    times = (1.0,) * 9 + (1000.0,)
    assert record(times).mean_ms == pytest.approx(100.9)
    assert percentile_ms(times, 100) == 1000.0


def test_interval_of_equal_samples_is_a_point() -> None:
    assert median_interval_ms([7.0] * 20) == (7.0, 7.0)


def test_interval_covers_the_median_and_shrinks() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(10, 1, 40).tolist(), rng.normal(10, 1, 4000).tolist()
    low, high = median_interval_ms(few)
    assert low < np.median(few) < high
    tight = median_interval_ms(many)
    assert tight[1] - tight[0] < (high - low) / 3


def test_interval_is_wider_when_samples_resemble_their_neighbours() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(10, 1, 400)
    steady = median_interval_ms(rng.permutation(values).tolist())
    drifting = median_interval_ms(np.sort(values).tolist())
    assert drifting[1] - drifting[0] > 2 * (steady[1] - steady[0])


def test_json_round_trip() -> None:
    before = record((1.25, 2.5, 3.75))
    stored = before.to_json()
    assert BenchRecord.from_json(json.loads(json.dumps(stored))) == before
    assert stored["p50_ms"] == 2.5
    assert stored["p99_ms"] is None
    assert stored["samples"] == 3
    assert stored["projected"][0]["kind"] == "projected, not measured"


def test_a_record_that_lacks_something_is_refused() -> None:
    stored = record((1.0,)).to_json()
    del stored["scope"]
    with pytest.raises(DataError, match="'scope'"):
        BenchRecord.from_json(stored)
    with pytest.raises(DataError, match="no samples"):
        BenchRecord.from_json({**record((1.0,)).to_json(), "times_ms": []})
