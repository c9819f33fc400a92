"""Tables of a comparison as ``taco-kd compare`` prints them, in AP points (AP x 100)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from taco_kd.cli.common import points

if TYPE_CHECKING:
    from taco_kd.evaluate.comparison import Comparison, Difference
    from taco_kd.evaluate.intervals import Interval
    from taco_kd.evaluate.power import Plan

Table = tuple[list[str], list[list[str]]]


def summary_table(result: Comparison) -> Table:
    """Each arm by itself, then each difference."""
    seeds = any(arm.seeds for arm in result.arms)
    several = len(result.differences) > 1
    columns = ["", "AP", "95 % interval", "method", "bias", "error"]
    columns += ["of which seeds"] if seeds else []
    columns += ["p"] + (["p adjusted (Holm)"] if several else [])
    rows = []
    for arm in result.arms:
        row = [f"{arm.name} ({len(arm.seeds)} seeds)" if arm.seeds else arm.name, *_cells(arm.ap, points)]
        row += [_error(arm.ap.seed_error)] if seeds else []
        rows.append([*row, *[""] * (1 + several)])
    for each in result.differences:
        row = [f"{each.name} - {each.reference}", *_cells(each.interval, _signed)]
        row += [_error(each.interval.seed_error)] if seeds else []
        row.append(_p(each.p_value))
        rows.append(row + ([_p(each.p_adjusted or each.p_value)] if several else []))
    return columns, rows


def plan_table(plan: Plan) -> Table:
    """Power and smallest difference against the number of images."""
    columns = ["images", f"power for {100 * plan.difference:g} points", "least difference at 80 % power"]
    rows = []
    for point in plan.curve:
        power = _between(*(f"{100 * value:.0f}" for value in sorted(point.power))) + " %"
        least = _between(*(f"{100 * value:.1f}" for value in sorted(point.smallest_difference)))
        rows.append([f"{point.images:,}" + (" (now)" if point.images == plan.images else ""), power, least])
    return columns, rows


def class_table(difference: Difference) -> Table:
    """Sizes, then classes; those with fewer than 10 boxes are marked."""
    columns = ["", "boxes", difference.reference, difference.name, "difference", "95 % interval", ""]
    rows = []
    for part in (*difference.sizes, *difference.per_class):
        if part.reference_ap is None or part.ap is None:
            continue
        interval = part.interval
        rows.append(
            [
                part.name,
                str(part.boxes),
                f"{100 * part.reference_ap:.1f}",
                f"{100 * part.ap:.1f}",
                _signed(part.ap - part.reference_ap),
                "–" if interval is None else f"[{_signed(interval.low)}, {_signed(interval.high)}]",
                "few boxes" if part.few else "",
            ]
        )
    return columns, rows


def _cells(interval: Interval, shown: Callable[[float], str]) -> list[str]:
    return [
        shown(interval.estimate),
        f"[{shown(interval.low)}, {shown(interval.high)}]",
        interval.method,
        f"{100 * interval.bias:+.2f}",
        _error(interval.standard_error),
    ]


def _signed(value: float) -> str:
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text


def _error(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def _between(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
