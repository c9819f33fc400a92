"""``taco-kd report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from taco_kd.cli.common import OUT, AsJson, print_json, say


def report(
    runs: Annotated[
        Optional[list[Path]],
        typer.Argument(help="Run folders, the reference first.", metavar="RUN", show_default=f"{OUT}/runs/*"),
    ] = None,
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path(OUT) / "report.html",
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples of the comparison.")] = 1000,
    max_images: Annotated[int, typer.Option(min=0, help="Validation images to show side by side.")] = 8,
    as_json: AsJson = False,
) -> None:
    """One self-contained HTML page: verdict, table, curves, the same images through every model.

    [bold]Example[/bold]

    taco-kd report taco-kd-out/runs/nano-baseline taco-kd-out/runs/nano-paper --out report.html
    """
    from taco_kd.errors import DataError
    from taco_kd.evaluate.arms import arms_of
    from taco_kd.evaluate.comparison import compare_arms
    from taco_kd.evaluate.stage import evaluate
    from taco_kd.progress import notice, task
    from taco_kd.report.page import report as stage
    from taco_kd.runs import RunDir, find_runs

    if runs:
        opened = [RunDir.open(path) for path in runs]
    else:
        folder = Path(OUT) / "runs"
        opened = sorted(find_runs(folder), key=lambda run: run.record()["kind"] != "train")
        if not opened:
            raise DataError(f"{folder}: no finished runs; give run folders, or make some with taco-kd train")
        notice("Runs: " + ", ".join(str(run.path) for run in opened))
    for run in opened:
        with task(f"evaluate {run.name}") as tick:
            evaluate(run, on_progress=tick)
    comparison = None
    arms = arms_of(opened, alone=False)
    if len(arms) > 1:
        with task("compare") as tick:
            comparison = compare_arms(arms, resamples=resamples, on_progress=tick).to_json()
    elif len(opened) > 1:
        notice(f"{arms[0].line()}: nothing to compare it with.")
    page = stage(opened, out, comparison=comparison, max_images=max_images)
    if as_json:
        print_json({"report": str(page), "comparison": comparison})
        return
    say(f"Report: {page}")
