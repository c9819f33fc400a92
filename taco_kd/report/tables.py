"""Rows of the results table and of the per-class table, from the records of the arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from taco_kd.report.collect import Arm, Json
from taco_kd.report.latency import Bench, Timing, measured_timing, projected_timing

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
            rows.append(Row("before training", None, arm.initial))
    several = len(rows) > 1
    rows = [Row(f"{r.label} ({i})" if several else r.label, None, r.metrics) for i, r in enumerate(rows, 1)]
    for arm in arms:
        record = next((r for r in arm.bench if Bench.of(r) == measured), None) or {}
        rows.append(
            Row(
                label=arm.name,
                arm=arm,
                metrics=arm.metrics or {},
                measured=measured_timing(arm, record),
                projected=projected_timing(arm, record, projected),
                model=record or (arm.bench[0] if arm.bench else {}),
            )
        )
    return rows


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
    tables = [{str(c["name"]): c for c in (arm.metrics or {}).get("per_class") or []} for arm in arms]
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
