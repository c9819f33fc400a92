"""Loss curves as inline SVG, and the scales of the interval plots the template draws.

Colours are left to the page's style sheet: a figure is drawn with marker colours that are then replaced by
CSS variables, so that it follows light, dark and print without being drawn twice.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.style
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from taco_kd.report.collect import Arm

ARM_COLOURS = 6
"""how many ``--arm-N`` variables the style sheet has; later arms begin again"""
_POINTS = 240
_INK, _GRID = "#010203", "#040506"
_REPLACED = {_INK: "currentColor", _GRID: "var(--line)"} | {
    f"#0a0b{n:02x}": f"var(--arm-{n})" for n in range(ARM_COLOURS)
}


@dataclass(frozen=True)
class Curve:
    """One loss term of one arm: ``steps`` [N] and ``values`` [N]."""

    arm: Arm
    steps: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class LossFigure:
    """The figure of one term, with the window (in steps) of its moving average."""

    term: str
    svg: Markup
    window: int


@dataclass(frozen=True)
class Scale:
    """A horizontal axis in percent of its width: ``at(value)``, and ``ticks`` as (label, percent)."""

    low: float
    high: float
    ticks: tuple[tuple[str, float], ...]

    def at(self, value: float) -> float:
        return round(100 * (value - self.low) / (self.high - self.low), 3)


def scale(values: Sequence[float], *, zero: bool = False, bins: int = 5) -> Scale:
    """An axis with round ticks that holds all ``values``, and 0 if asked."""
    low, high = min([*values, *([0.0] if zero else [])]), max([*values, *([0.0] if zero else [])])
    if high == low:
        low, high = low - 1, high + 1
    locator = MaxNLocator(nbins=bins, steps=[1, 2, 2.5, 5, 10])
    ticks = [float(t) for t in locator.tick_values(low, high)]
    axis = Scale(min(low, ticks[0]), max(high, ticks[-1]), ())
    return Scale(axis.low, axis.high, tuple((f"{t:g}".replace("-", "−"), axis.at(t)) for t in ticks))


def loss_figures(arms: Sequence[Arm]) -> list[LossFigure]:
    """The total loss and each of its weighted terms, one figure each, with a line for every arm."""
    terms = {term for arm in arms for step in arm.log for term in step.get("terms") or {}}
    order = sorted(terms, key=lambda term: (term.startswith("kd_"), term))
    found = [("loss", [_curve(arm, None) for arm in arms])]
    found += [(term, [_curve(arm, term) for arm in arms]) for term in order]
    return [_figure(term, drawn) for term, curves in found if (drawn := [c for c in curves if c is not None])]


def _curve(arm: Arm, term: str | None) -> Curve | None:
    rows = [
        (row["step"], row["loss"] if term is None else row["terms"][term])
        for row in arm.log
        if "step" in row and ("loss" in row if term is None else term in (row.get("terms") or {}))
    ]
    points = np.array(rows, dtype=float).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    return Curve(arm, points[:, 0], points[:, 1]) if len(points) else None


def smooth(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Centred moving average of [N] over ``window`` points; at the ends over those that exist."""
    ones = np.ones(min(window, len(values)))
    summed = np.convolve(values, ones, mode="same")
    return np.asarray(summed / np.convolve(np.ones(len(values)), ones, mode="same"))


def _figure(term: str, curves: Sequence[Curve]) -> LossFigure:
    longest = max(len(curve.values) for curve in curves)
    window = max(1, longest // 40)

    def draw(axes: Axes) -> None:
        for curve in curves:
            colour = arm_colour(curve.arm.position)
            every = max(1, len(curve.values) // _POINTS)
            smoothed = smooth(curve.values, window)
            axes.plot(curve.steps[::every], curve.values[::every], color=colour, linewidth=0.8, alpha=0.22)
            axes.plot(curve.steps[::every], smoothed[::every], color=colour, linewidth=2)
        top = float(np.percentile(np.concatenate([c.values for c in curves]), 99))
        if all((curve.values >= 0).all() for curve in curves) and top > 0:
            axes.set_ylim(0, top * 1.05)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.grid(axis="y", linewidth=0.8)

    return LossFigure(term, draw_svg(draw, salt=term), window)


def arm_colour(position: int) -> str:
    """A marker colour that the page shows as that of the arm."""
    return f"#0a0b{position % ARM_COLOURS:02x}"


def draw_svg(
    draw: Callable[[Axes], None], *, salt: str, size_inches: tuple[float, float] = (3.6, 2.2)
) -> Markup:
    """What ``draw`` puts into one set of axes, as an ``<svg>`` in the page's colours.

    Args:
        salt: another one for each figure of a page: ids of its parts depend on it.
    """
    style: Any = {
        "svg.fonttype": "none",  # real text: small, selectable, in the page's own font
        "svg.hashsalt": salt,  # stable ids, and different ones in each figure of the page
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _GRID,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "grid.color": _GRID,
        "font.size": 11,
        "path.simplify": True,
    }
    with matplotlib.style.context(["default", style]):  # whatever the user's matplotlibrc says
        figure = Figure(figsize=size_inches, layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(stream.getvalue())


def _inline(svg: str) -> Markup:
    """The ``<svg>`` element alone, without metadata, fixed size and fonts, in the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r' id="(?![pm][0-9a-f]{10}")[^"]*"', "", svg)  # keeps those of clip paths and markers
    svg = re.sub(r" font-family: [^;]*;", "", svg)
    svg = re.sub(r"(\.\d\d)\d+", r"\1", svg)
    for marker, colour in _REPLACED.items():
        svg = svg.replace(marker, colour)
    return Markup(svg)  # made by matplotlib from numbers: no text of a record is in it
