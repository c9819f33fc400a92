"""One self-contained HTML page from the records of runs: ``report(runs, out)``.

Nothing is trained, run or measured here, and torch is not imported. The page loads nothing from the network
and its bytes depend on the records alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taco_kd import __version__
from taco_kd.errors import DataError, UsageError
from taco_kd.files import write_text
from taco_kd.report import formats
from taco_kd.report.collect import Arm, Json, collect, open_data
from taco_kd.report.differences import breakdowns
from taco_kd.report.figures import ARM_COLOURS, Scale, loss_figures, scale
from taco_kd.report.headline import headline
from taco_kd.report.images import LOWEST_SCORE, MATCH_IOU, Picture, pictures
from taco_kd.report.latency import latency_plots, main_projection, main_setting
from taco_kd.report.tables import AP_COLUMNS, FEW_BOXES, per_class, results
from taco_kd.report.templates import own_text, template
from taco_kd.runs import RunDir


@dataclass(frozen=True)
class Dot:
    """AP in points with its interval: of a run, or (``arm`` None) of a student before training, or of an arm
    of several seeds."""

    label: str
    arm: Arm | None
    value: float
    interval: tuple[float, float] | None


def report(
    runs: Sequence[RunDir],
    out: Path,
    *,
    comparison: Json | None = None,
    autolabel: Json | None = None,
    title: str = "taco-kd report",
    max_images: int = 8,
    score: float = 0.3,
) -> Path:
    """Write the page to ``out`` and return it. Records that are missing are named on the page.

    Args:
        runs: the reference first; their order gives their colours.
        comparison: ``Comparison.to_json()`` of :mod:`taco_kd.evaluate.comparison`: the verdict.
        autolabel: the audit of automatic labels, shown as it is.
        title: title of the page.
        max_images: validation images shown through every model; 0 leaves them out.
        score: confidence at which boxes are drawn before the slider is moved.

    Raises:
        UsageError: no run, a negative number of images, a confidence outside what the page can show.
        DataError: a record that is there but cannot be read.
    """
    if max_images < 0:
        raise UsageError(f"max_images = {max_images}: must not be negative")
    if not LOWEST_SCORE <= score <= 0.95:
        raise UsageError(f"score = {score}: must lie between {LOWEST_SCORE} and 0.95")
    arms = collect(runs)
    shown, no_pictures = _pictures(arms, max_images)
    setting = main_setting(arms)
    projection = main_projection(arms, setting)
    rows = results(arms, setting, projection)
    folders = (autolabel or {}).get("folders") or []
    evaluated = next((arm.metrics for arm in arms if arm.metrics), None) or {}
    html = template("template.html").render(
        title=title,
        version=__version__,
        style=own_text("style.css"),
        script=own_text("viewer.js"),
        verdict=headline(comparison, arms),
        arms=arms,
        arm_colours=ARM_COLOURS,
        facts={arm.position: formats.facts(arm) for arm in arms},
        missing=[line for arm in arms for line in arm.missing],
        ap_columns=AP_COLUMNS,
        rows=rows,
        setting=setting,
        projection=projection,
        validation=formats.validation(evaluated),
        area_space=evaluated.get("area_space"),
        caveats=formats.caveats(arms, evaluated, comparison),
        dots=_dots(rows, comparison),
        latency=latency_plots(arms),
        without_samples=lambda record: {k: v for k, v in record.items() if k != "times_ms"},
        pictures=shown,
        no_pictures=no_pictures,
        match_iou=MATCH_IOU,
        lowest_score=LOWEST_SCORE,
        score=score,
        classes=per_class(arms),
        breakdowns=breakdowns(comparison),
        few_boxes=FEW_BOXES,
        losses=loss_figures(arms),
        term_names=formats.TERM_NAMES,
        autolabel=autolabel,
        audit=[*folders, overall] if (overall := (autolabel or {}).get("overall")) else folders,
    )
    write_text(out, html.lstrip())
    return out


def _pictures(arms: Sequence[Arm], max_images: int) -> tuple[list[Picture], str]:
    """The pictures, or none and the reason why."""
    if max_images == 0:
        return [], "none were asked for"
    if all(arm.predictions is None for arm in arms):
        return [], "no run has predictions"
    data, reason = open_data(arms)
    if data is None:
        return [], reason
    try:
        shown = pictures(data, arms, max_images=max_images)
    except DataError as error:
        return [], str(error)
    return shown, "the validation split has no images"


def _dots(rows: Sequence[Any], comparison: Mapping[str, Any] | None) -> dict[str, Any]:
    """Rows and axis of the plot of AP, with the intervals that the comparison holds."""
    intervals = {arm.get("name"): arm.get("ap") for arm in (comparison or {}).get("arms") or []}
    dots = []
    for row in rows:
        if row.metrics.get("ap") is None:
            continue
        own = intervals.get(row.arm.name) if row.arm else None
        pair = (100 * own["low"], 100 * own["high"]) if own else None
        dots.append(Dot(row.label, row.arm, 100 * row.metrics["ap"], pair))
    for arm in (comparison or {}).get("arms") or []:
        if arm.get("seeds"):
            own, label = arm["ap"], f"{arm['name']}, mean of {len(arm['seeds'])} seeds"
            dots.append(Dot(label, None, 100 * own["estimate"], (100 * own["low"], 100 * own["high"])))
    ends = [value for dot in dots for value in (dot.value, *(dot.interval or ()))]
    axis: Scale = scale(ends or [0.0, 1.0], zero=True)
    return {"rows": dots, "axis": axis, "intervals": any(dot.interval for dot in dots)}
