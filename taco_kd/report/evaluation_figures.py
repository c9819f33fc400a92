"""Curves and the reliability diagram of one detector, as inline SVG in the page's colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from taco_kd.evaluate.calibration import Calibration
from taco_kd.evaluate.curves import ConfidenceCurves, RecallCurves
from taco_kd.report.figures import arm_colour, draw_svg

SIZE_INCHES = (5.0, 3.4)
LINES = (1, 2, 4)
"""Positions of the colours of three lines, told apart by people who see no red or green too."""


def recall_figure(curves: RecallCurves) -> Markup:
    """Precision against recall at IoU 0.5, 0.75 and over all thresholds."""

    def draw(axes: Axes) -> None:
        recall = np.linspace(0, 1, len(curves.mean))
        for values, position in zip((curves.iou50, curves.iou75, curves.mean), LINES, strict=True):
            axes.plot(recall, values, color=arm_colour(position), linewidth=2.2)
        _unit(axes, "recall", "precision")

    return draw_svg(draw, salt="recall", size_inches=SIZE_INCHES)


def confidence_figure(curves: ConfidenceCurves) -> Markup:
    """Precision, recall and F1 against the confidence threshold, with the best F1 marked."""

    def draw(axes: Axes) -> None:
        precision = [np.nan if value is None else value for value in curves.precision]
        for values, position in zip((precision, curves.recall, curves.f1), LINES, strict=True):
            axes.plot(curves.confidence, values, color=arm_colour(position), linewidth=2.2)
        if curves.best:
            at, f1 = curves.best.confidence, curves.best.f1
            axes.plot([at, at], [0, f1], color=arm_colour(LINES[2]), linewidth=1.2, linestyle=(0, (4, 3)))
            axes.plot([at], [f1], "o", color=arm_colour(LINES[2]), markersize=7)
        _unit(axes, "confidence threshold", None)
        axes.set_xlim(min(0, curves.confidence[0]), max(1, curves.confidence[-1]))

    return draw_svg(draw, salt="confidence", size_inches=SIZE_INCHES)


def reliability_figure(found: Calibration) -> Markup:
    """Precision against confidence in bins; the diagonal is a calibrated detector."""

    def draw(axes: Axes) -> None:
        bins = [b for b in found.bins if b.count]
        width = found.bins[0].high - found.bins[0].low
        middle = [(b.low + b.high) / 2 for b in bins]
        most = max((b.count for b in bins), default=1)
        for x, b in zip(middle, bins, strict=True):
            # Faint where few detections stand behind a bar.
            strength = 0.25 + 0.65 * min(1.0, np.log1p(b.count) / np.log1p(most))
            axes.bar([x], [b.precision or 0], width=0.9 * width, color=arm_colour(1), alpha=float(strength))
        axes.plot([0, 1], [0, 1], color=arm_colour(0), linewidth=1.5, linestyle=(0, (5, 4)))
        axes.plot(
            [b.confidence or 0 for b in bins],
            [b.precision or 0 for b in bins],
            "o",
            color=arm_colour(2),
            markersize=5,
        )
        _unit(axes, "confidence", "share that is right (precision)")

    return draw_svg(draw, salt="reliability", size_inches=SIZE_INCHES)


def sparkline(values: Sequence[float], *, width: int = 120, height: int = 28) -> str:
    """Points of a small SVG polyline of values in 0..1, left to right."""
    step = width / (len(values) - 1)
    points = [(i * step, 1 + (height - 2) * (1 - value)) for i, value in enumerate(values)]
    kept = [
        p
        for i, p in enumerate(points)
        if i in (0, len(points) - 1) or p[1] != points[i - 1][1] or p[1] != points[i + 1][1]
    ]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in kept)


def _unit(axes: Axes, x: str, y: str | None) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(x)
    if y:
        axes.set_ylabel(y)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="both", linewidth=0.8)
