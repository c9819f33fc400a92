"""Rows of the table that shows where a difference comes from: by size of the boxes, and by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taco_kd.report.collect import Json


@dataclass(frozen=True)
class PartRow:
    """One size or class, in AP points; None where there is no figure."""

    name: str
    boxes: int
    few: bool
    reference_ap: float | None
    ap: float | None
    difference: float | None
    interval: tuple[float, float] | None

    @property
    def apart_from_zero(self) -> bool:
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


@dataclass(frozen=True)
class Breakdown:
    """One difference: ``sizes`` and ``classes``; ``chance`` class intervals leave out zero by luck alone."""

    name: str
    reference: str
    sizes: list[PartRow]
    classes: list[PartRow]

    @property
    def chance(self) -> float:
        return 0.05 * sum(row.interval is not None for row in self.classes)


def breakdowns(comparison: Json | None) -> list[Breakdown]:
    """One for each difference of ``Comparison.to_json()`` that holds any parts."""
    found = []
    for difference in (comparison or {}).get("differences") or []:
        sizes, classes = (
            [_row(part) for part in difference.get(key) or []] for key in ("sizes", "per_class")
        )
        classes = [row for row in classes if row.boxes]
        if sizes or classes:
            reference = difference.get("reference") or (comparison or {}).get("reference")
            found.append(Breakdown(str(difference.get("name")), str(reference), sizes, classes))
    return found


def _row(part: Json) -> PartRow:
    interval = part.get("interval")
    ours, theirs = part.get("reference_ap"), part.get("ap")
    return PartRow(
        name=str(part.get("name")),
        boxes=int(part.get("boxes") or 0),
        few=bool(part.get("few")),
        reference_ap=ours,
        ap=theirs,
        difference=None if ours is None or theirs is None else 100 * (theirs - ours),
        interval=None if interval is None else _ends(interval),
    )


def _ends(interval: Any) -> tuple[float, float]:
    return 100 * interval["low"], 100 * interval["high"]
