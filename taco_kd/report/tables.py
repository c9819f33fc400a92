"""Rows of the results table, the latency plot and the per-class table, from the records of the arms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from taco_kd.report.collect import Arm, Json
from taco_kd.report.figures import Scale, scale

AP_COLUMNS = (
    ("ap", "AP", "mean over IoU 0.50 to 0.95"),
    ("ap50", "AP50", "at IoU 0.50"),
    ("ap75", "AP75", "at IoU 0.75"),
    ("ap_small", "AP S", "small boxes"),
    ("ap_medium", "AP M", "medium boxes"),
    ("ap_large", "AP L", "large boxes"),
)
FEW_BOXES = 10
"""a class with fewer true boxes than this says little"""


@dataclass(frozen=True)
class Bench:
    """What makes latencies comparable: the same of all of these."""

    device: str
    scope: str
    precision: str
    batch: int
    image_size: int | None

    @classmethod
    def of(cls, record: Json) -> Bench:
        return cls(
            device=str(record.get("device") or "unnamed device"),
            scope=str(record.get("scope") or "scope not recorded"),
            precision=str(record.get("precision") or "precision not recorded"),
            batch=int(record.get("batch") or 1),
            image_size=record.get("image_size"),
        )

    @property
    def setting(self) -> str:
        size = f", {self.image_size} px" if self.image_size else ""
        return f"{self.scope}, {self.precision}, batch {self.batch}{size}"


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
    """Timings on one axis: measured on one device in one setting, or all projected to one device."""

    title: str
    setting: str
    projected: bool
    axis: Scale
    rows: list[Timing]


@dataclass(frozen=True)
class Row:
    """A row of the results table. ``arm`` is None for the student before training."""

    label: str
    arm: Arm | None
    metrics: Json
    measured: Timing | None = None
    projected: Timing | None = None
    model: Json = field(default_factory=dict)


def results(arms: Sequence[Arm], measured: Bench | None, projected: str | None) -> list[Row]:
    """The students before training (once each), then the arms."""
    rows: list[Row] = []
    for arm in arms:
        if arm.initial and all(arm.initial != row.metrics for row in rows):
            rows.append(Row("student before training", None, arm.initial))
    several = len(rows) > 1
    rows = [Row(f"{r.label} ({i})" if several else r.label, None, r.metrics) for i, r in enumerate(rows, 1)]
    for arm in arms:
        record = next((r for r in arm.bench if Bench.of(r) == measured), None) or {}
        rows.append(
            Row(
                label=arm.name,
                arm=arm,
                metrics=arm.metrics or {},
                measured=_measured(arm, record),
                projected=_projected(arm, record, projected),
                model=record or (arm.bench[0] if arm.bench else {}),
            )
        )
    return rows


def main_setting(arms: Sequence[Arm]) -> Bench | None:
    """The setting most arms were measured in; the first recorded among equals."""
    counts = Counter(setting for arm in arms for setting in dict.fromkeys(map(Bench.of, arm.bench)))
    return counts.most_common(1)[0][0] if counts else None


def main_projection(arms: Sequence[Arm]) -> str | None:
    """The device of the projected column: a T4 where there is one, or else the first projected to."""
    devices = [str(p.get("device")) for arm in arms for record in arm.bench for p in _projections(record)]
    return next((d for d in devices if "t4" in d.lower()), devices[0] if devices else None)


def latency_plots(arms: Sequence[Arm]) -> list[Plot]:
    """One plot for each setting that was measured, then one for each device projected to."""
    settings = dict.fromkeys(Bench.of(record) for arm in arms for record in arm.bench)
    plots = []
    for setting in settings:
        timings = [_measured(arm, r) for arm in arms for r in arm.bench if Bench.of(r) == setting]
        plots.append(_plot(setting.device, setting.setting, False, timings))
    places = dict.fromkeys(
        (setting, str(p.get("device")))
        for setting in settings
        for arm in arms
        for r in arm.bench
        if Bench.of(r) == setting
        for p in _projections(r)
    )
    for setting, device in places:
        timings = [_projected(arm, r, device) for arm in arms for r in arm.bench if Bench.of(r) == setting]
        plots.append(_plot(device, setting.setting, True, timings))
    return [plot for plot in plots if plot.rows]


def _plot(title: str, setting: str, projected: bool, timings: Sequence[Timing | None]) -> Plot:
    rows = [timing for timing in timings if timing is not None]
    ends = [v for t in rows for v in (t.latency_ms, *(t.interval_ms or ()), t.p95_ms) if v is not None]
    return Plot(title, setting, projected, scale(ends or [0.0], zero=True), rows)


def _measured(arm: Arm, record: Json) -> Timing | None:
    if record.get("p50_ms") is None:
        return None
    return Timing(arm, record["p50_ms"], _pair(record.get("median_interval_ms")), record.get("p95_ms"))


def _projected(arm: Arm, record: Json, device: str | None) -> Timing | None:
    for found in _projections(record):
        if str(found.get("device")) == device and found.get("latency_ms") is not None:
            basis = ", ".join(str(found[key]) for key in ("backend", "basis") if found.get(key))
            return Timing(arm, found["latency_ms"], _pair(found.get("interval_ms")), None, basis)
    return None


def _projections(record: Json) -> list[Json]:
    projected = record.get("projected") or []
    return [projected] if isinstance(projected, dict) else projected


def _pair(value: Any) -> tuple[float, float] | None:
    return (float(value[0]), float(value[1])) if value and None not in value else None


@dataclass(frozen=True)
class ClassRow:
    """One class: ``boxes`` in the ground truth, and the AP of each arm (None where it cannot be told)."""

    name: str
    boxes: int
    ap: list[float | None]

    @property
    def few(self) -> bool:
        return self.boxes < FEW_BOXES


def per_class(arms: Sequence[Arm]) -> list[ClassRow]:
    """Classes from the most to the least frequent one."""
    tables = [
        {str(c["name"]): c for c in (arm.metrics or {}).get("per_class") or []} for arm in arms
    ]
    names = dict.fromkeys(name for table in tables for name in table)
    rows = [
        ClassRow(
            name,
            max(int(table[name].get("boxes") or 0) for table in tables if name in table),
            [table.get(name, {}).get("ap") for table in tables],
        )
        for name in names
    ]
    return sorted(rows, key=lambda row: -row.boxes)
