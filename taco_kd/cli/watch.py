"""``taco-kd watch``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taco_kd.cli.common import OUT, AsJson, print_json, say

if TYPE_CHECKING:
    from taco_kd.train.follow import State

LINE_S = 30.0
"""Seconds between two lines where stdout is no terminal."""


def watch(
    run: Annotated[
        Path,
        typer.Argument(help="A run folder, or a folder of runs.", metavar="RUN", show_default=f"{OUT}/runs"),
    ] = Path(OUT) / "runs",
    once: Annotated[bool, typer.Option("--once", help="Print how it stands now, and end.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Follow a training from another terminal: figures, curves of loss and AP, and whether it still lives.

    [bold]Examples[/bold]

    taco-kd watch taco-kd-out/runs/nano-baseline

    taco-kd watch --once

    taco-kd watch runs --once --json
    """
    from taco_kd.errors import DataError
    from taco_kd.train.follow import Follower, runs_below

    if once or as_json:
        states = [Follower(path).look() for path in runs_below(run)]
        if not states or all(state.status == "waiting" for state in states):
            raise DataError(f"{run}: no run there yet; taco-kd train makes one")
        if as_json:
            print_json(
                [state.to_json() for state in states] if states[0].run.path != run else states[0].to_json()
            )
            return
        _print(states)
        return
    try:
        _follow(run, every)
    except KeyboardInterrupt:
        return


def _follow(path: Path, every: float) -> None:
    """Until the run ends; a folder of runs until Ctrl-C, as there may always be another."""
    from rich.console import Console
    from rich.live import Live

    from taco_kd.train.follow import Follower, runs_below
    from taco_kd.train.watch_view import line, view

    console = Console(highlight=False)
    followers: dict[Path, Follower] = {}

    def look() -> list[State]:
        return [followers.setdefault(each, Follower(each)).look() for each in runs_below(path)]

    def over(states: list[State]) -> bool:
        return len(states) == 1 and states[0].run.path == path and states[0].ended

    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                states = look()
                live.update(view(states, console.width, path), refresh=True)
                if over(states):
                    return
                time.sleep(every)
    told, last = 0.0, ""
    while True:
        states = look()
        text = "\n".join(line(state) for state in states)
        if over(states) or (time.monotonic() - told >= LINE_S and text != last) or not last:
            told, last = time.monotonic(), text or f"{path}: no run there yet"
            say(last)
        if over(states):
            return
        time.sleep(every)


def _print(states: list[State]) -> None:
    from rich.console import Console

    from taco_kd.train.watch_view import view

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=100)
    console.print(view(states, console.width))
