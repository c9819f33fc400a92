"""How ``taco-kd watch`` shows runs: one with its curves, several as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from taco_kd.train.follow import State
from taco_kd.train.live import row_of
from taco_kd.train.pace import Curve, clock, in_words
from taco_kd.train.plots import plot, sparkline

COLOURS = {"running": "green", "finished": "cyan", "stopped": "yellow", "killed": "red", "silent": "yellow"}


def view(states: Sequence[State], width: int, path: Path | None = None) -> RenderableType:
    """All there is to see, ``width`` characters wide."""
    if not states:
        return Text(f"No run in {path} yet; Ctrl-C ends.")
    return _one(states[0], width) if len(states) == 1 else _many(states)


def line(state: State) -> str:
    """One plain line."""
    figures = in_words(state.pace.figures())
    left = "" if state.ended else f", {clock(state.pace.seconds_left())} left"
    return f"{state.run.path}: {state.words}" + (f", {figures}{left}" if figures else "")


def _one(state: State, width: int) -> RenderableType:
    pace = state.pace
    if state.status == "waiting":
        return Text(f"{state.words}; Ctrl-C ends.")
    head = Text(str(state.run.path), "bold")
    head.append(f"  {state.record.get('kind', '')}{', ' + state.stage if state.stage else ''}  ", "dim")
    head.append(state.words, COLOURS.get(state.status, ""))
    if not state.ended:
        head.append(f", {clock(pace.seconds_left())} left")
    lines: list[RenderableType] = [head]
    for figures in (pace.figures(), pace.terms()):
        if figures:
            lines.append(row_of(figures))
    across = max(20, min(100, width - 12))
    lines += _drawn("loss", pace.losses, across, 8, "{:.3g}", 1.0)
    if pace.evaluations.values:
        lines += _drawn("AP", pace.evaluations, across, 5, "{:.1f}", 100.0)
    return Group(*lines)


def _drawn(name: str, curve: Curve, width: int, height: int, form: str, scale: float) -> list[RenderableType]:
    values = [scale * value for value in curve.values]
    rows = plot(curve.steps, values, width=width, height=height, form=form)
    return [Text(""), Text(f"{name} over steps", "bold"), *(Text(row) for row in rows)] if rows else []


def _many(states: Sequence[State]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("run", "state", "step", "loss", "", "AP", "best", "left"):
        numbers = name in ("step", "loss", "AP", "best", "left")
        table.add_column(name, justify="right" if numbers else "left", no_wrap=name != "run", overflow="fold")
    for state in states:
        pace = state.pace
        ap, best = pace.last_ap, pace.best
        total = f"/{pace.whole:,}" if pace.whole else ""
        table.add_row(
            Text(state.run.path.name),
            Text(state.status, COLOURS.get(state.status, "")),
            f"{pace.step:,}{total}",
            "" if pace.loss is None else f"{pace.loss:.3g}",
            sparkline(pace.losses.values, 20),
            "" if ap is None else f"{100 * ap[1]:.1f}",
            "" if best is None else f"{100 * best[1]:.1f}",
            "" if state.ended else clock(pace.seconds_left()),
        )
    ended = [Text(line(s)) for s in states if s.status in ("killed", "stopped", "silent")]
    return Group(table, *ended)
