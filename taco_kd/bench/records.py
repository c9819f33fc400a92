"""The record of a benchmark: one model, in one scope, on one device, with every sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from taco_kd.bench.projection import Projection
from taco_kd.bench.statistics import median_interval_ms, p99_ms, percentile_ms
from taco_kd.errors import DataError

SCOPES = ("model", "e2e")
"""model: tensor in, raw outputs out. e2e: decoded uint8 image in, final boxes out."""


@dataclass(frozen=True)
class BenchRecord:
    """What ``bench.json`` keeps of a measurement.

    Attributes:
        model: name of the row.
        weights_sha256: of the weights file; None for weights that are in no file.
        backend, precision: as "torch eager" and "fp32".
        device: the one that was measured, by its own name.
        batch, image_size, threads: images a call, side in pixels of the input, threads of torch.
        scope: one of ``SCOPES``; a latency means nothing without it.
        images: what was fed in rotation.
        times_ms: every sample, in the order taken.
        warm_up_iterations, stable: how long the warm-up was, and whether it became steady.
        parameters: counts of all, trainable, and in buffers.
        gmacs, gflops: multiply-adds, and twice that; ``uncounted`` names operators without a formula.
        paper_convention: ``parameters_m`` and ``gflops`` as the paper's Table I counts them, where it does.
        peak_memory_mib: weights and activations on a GPU; None on a CPU.
        device_state: range of clocks, temperature, load and the like while measuring.
        throttle_reasons: why the device was slower than it could be; empty: it was not, or does not say.
        projected: estimates for devices that are not here. Never a measurement.
        environment: versions and machine.
        created: time of the measurement, ISO 8601, UTC.
    """

    model: str
    weights_sha256: str | None
    backend: str
    device: str
    precision: str
    batch: int
    image_size: int
    scope: str
    threads: int
    images: str
    times_ms: tuple[float, ...]
    warm_up_iterations: int
    stable: bool
    parameters: Mapping[str, int]
    gmacs: float
    gflops: float
    uncounted: tuple[str, ...]
    paper_convention: Mapping[str, float] | None = None
    peak_memory_mib: float | None = None
    device_state: Mapping[str, Any] = field(default_factory=dict)
    throttle_reasons: tuple[str, ...] = ()
    projected: tuple[Projection, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""

    @property
    def p50_ms(self) -> float:
        return percentile_ms(self.times_ms, 50)

    @property
    def p90_ms(self) -> float:
        return percentile_ms(self.times_ms, 90)

    @property
    def p95_ms(self) -> float:
        return percentile_ms(self.times_ms, 95)

    @property
    def p99_ms(self) -> float | None:
        """None where there are too few samples: shown as n/a."""
        return p99_ms(self.times_ms)

    @property
    def mean_ms(self) -> float:
        return sum(self.times_ms) / len(self.times_ms)

    @property
    def median_interval_ms(self) -> tuple[float, float]:
        """95 % bootstrap interval of the median."""
        return median_interval_ms(self.times_ms)

    def to_json(self) -> dict[str, Any]:
        """The record with its statistics, as JSON values; ``from_json`` computes those anew."""
        statistics = {
            "samples": len(self.times_ms),
            "p50_ms": self.p50_ms,
            "p90_ms": self.p90_ms,
            "p95_ms": self.p95_ms,
            "p99_ms": self.p99_ms,
            "mean_ms": self.mean_ms,
            "median_interval_ms": list(self.median_interval_ms),
        }
        stored = asdict(self)
        stored.update(
            times_ms=list(self.times_ms),
            uncounted=list(self.uncounted),
            throttle_reasons=list(self.throttle_reasons),
            projected=[
                {**asdict(p), "interval_ms": list(p.interval_ms), "kind": "projected, not measured"}
                for p in self.projected
            ],
        )
        return {**stored, **statistics}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> BenchRecord:
        """A record from what ``to_json`` gave.

        Raises:
            DataError: a field is missing, or there are no samples.
        """
        try:
            values = {f.name: stored[f.name] for f in fields(cls)}
            values["projected"] = tuple(
                Projection(
                    p["device"],
                    p["backend"],
                    p["latency_ms"],
                    (p["interval_ms"][0], p["interval_ms"][1]),
                    p["basis"],
                )
                for p in stored["projected"]
            )
        except KeyError as error:
            raise DataError(
                f"benchmark record: no {error.args[0]!r} in it; make it anew: taco-kd bench"
            ) from None
        for name in ("times_ms", "uncounted", "throttle_reasons"):
            values[name] = tuple(values[name])
        if not values["times_ms"]:
            raise DataError("benchmark record: it holds no samples; make it anew: taco-kd bench")
        return cls(**values)
