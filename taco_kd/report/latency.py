"""Latencies from the bench records: measured ones, grouped by what makes them comparable, and projected ones.

A projection is never shown in the place of a measurement: it has its own column, its own plot and its mark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from taco_kd.report.collect import Arm, Json
from taco_kd.report.figures import Scale, scale

SCOPES = {
    "model": "model alone (tensor in, raw outputs out)",
    "e2e": "end to end (decoded image in, final boxes out)",
}


@dataclass(frozen=True)
class Bench:
    """What makes latencies comparable: the same of all of these."""

    device: str
    scope: str
    backend: str
    precision: str
    batch: int
    image_size: int | None
    threads: int | None

    @classmethod
    def of(cls, record: Json) -> Bench:
        return cls(
            device=str(record.get("device") or "unnamed device"),
            scope=str(record.get("scope") or "scope not recorded"),
            backend=str(record.get("backend") or ""),
            precision=str(record.get("precision") or "precision not recorded"),
            batch=int(record.get("batch") or 1),
            image_size=record.get("image_size"),
            threads=record.get("threads"),
        )

    @property
    def setting(self) -> str:
        """All but the device, in words."""
        parts = [
            SCOPES.get(self.scope, self.scope),
            f"{self.backend} {self.precision}".strip(),
            f"batch {self.batch}",
            f"{self.image_size} px" if self.image_size else "",
            f"{self.threads} thread{'' if self.threads == 1 else 's'}" if self.threads else "",
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Timing:
    """A latency in milliseconds with its interval (or None) and, where measured, its 95th percentile."""

    arm: Arm
    latency_ms: float
    interval_ms: tuple[float, float] | None = None
    p95_ms: float | None = None
    basis: str = ""


@dataclass(frozen=True)
class Plot:
    """Timings on one axis: measured on one device in one setting, or all projected to one place."""

    title: str
    setting: str
    projected: bool
    axis: Scale
    rows: list[Timing]


def main_setting(arms: Sequence[Arm]) -> Bench | None:
    """The setting most arms were measured in; the first recorded among equals."""
    counts = Counter(setting for arm in arms for setting in dict.fromkeys(map(Bench.of, arm.bench)))
    return counts.most_common(1)[0][0] if counts else None


def main_projection(arms: Sequence[Arm], setting: Bench | None) -> str | None:
    """The place of the projected column: a T4 where there is one, or else the first one projected to."""
    records = [r for arm in arms for r in arm.bench if Bench.of(r) == setting]
    places = [_place(projection) for record in records for projection in _projections(record)]
    return next((p for p in places if "t4" in p.lower()), places[0] if places else None)


def latency_plots(arms: Sequence[Arm]) -> list[Plot]:
    """One plot for each setting that was measured, then one for each place projected to."""
    rows = [(arm, record) for arm in arms for record in arm.bench]
    plots = []
    for setting in dict.fromkeys(Bench.of(record) for _, record in rows):
        timings = [measured_timing(arm, record) for arm, record in rows if Bench.of(record) == setting]
        plots.append(_plot(setting.device, setting.setting, False, timings))
    for place in dict.fromkeys(_place(p) for _, record in rows for p in _projections(record)):
        first = {
            arm.name: timing
            for arm, record in reversed(rows)
            if (timing := projected_timing(arm, record, place))
        }
        plots.append(_plot(place, "", True, [first.get(arm.name) for arm in arms]))
    return [plot for plot in plots if plot.rows]


def doubts(arms: Sequence[Arm]) -> list[str]:
    """One line for each reason not to lean on some measurements, and for work that was not counted."""
    said: dict[str, list[str]] = {}
    for arm in arms:
        for record in arm.bench:
            who = f"{arm.name} ({record.get('scope')}, {record.get('device')})"
            if record.get("throttle_reasons"):
                why = f"the device was slowed down ({', '.join(record['throttle_reasons'])})"
                said.setdefault(why, []).append(who)
            if record.get("stable") is False:
                why = "the warm-up did not become steady; measure it again on an idle machine"
                said.setdefault(why, []).append(who)
    lines = [f"Latency of {', '.join(who)}: {why}." for why, who in said.items()]
    uncounted = sorted(
        {str(name) for arm in arms for record in arm.bench for name in record.get("uncounted") or []}
    )
    return [*lines, f"GFLOPs leave out {', '.join(uncounted)}."] if uncounted else lines


def _plot(title: str, setting: str, projected: bool, timings: Sequence[Timing | None]) -> Plot:
    rows = [timing for timing in timings if timing is not None]
    ends = [v for t in rows for v in (t.latency_ms, *(t.interval_ms or ()), t.p95_ms) if v is not None]
    return Plot(title, setting, projected, scale(ends or [0.0], zero=True), rows)


def measured_timing(arm: Arm, record: Json) -> Timing | None:
    """The median of a bench record; None where it has none."""
    if record.get("p50_ms") is None:
        return None
    return Timing(arm, record["p50_ms"], _pair(record.get("median_interval_ms")), record.get("p95_ms"))


def projected_timing(arm: Arm, record: Json, place: str | None) -> Timing | None:
    """What a bench record projects for ``place``; None where it does not."""
    for found in _projections(record):
        if _place(found) == place and found.get("latency_ms") is not None:
            return Timing(
                arm, found["latency_ms"], _pair(found.get("interval_ms")), None, str(found.get("basis") or "")
            )
    return None


def _place(projection: Json) -> str:
    """Device and backend: figures of two backends do not belong in one column."""
    return ", ".join(str(projection[key]) for key in ("device", "backend") if projection.get(key))


def _projections(record: Json) -> list[Json]:
    projected = record.get("projected") or []
    return [projected] if isinstance(projected, dict) else projected


def _pair(value: Any) -> tuple[float, float] | None:
    return (float(value[0]), float(value[1])) if value and None not in value else None
