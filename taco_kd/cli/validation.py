"""``taco-kd evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from taco_kd.cli.common import AsJson, Device, metric_rows, print_json, print_table


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    data: Annotated[
        Optional[Path], typer.Option(help="A prepared dataset. [default: the one each run was trained on]")
    ] = None,
    split: Annotated[str, typer.Option(help="val or train")] = "val",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """COCO metrics of finished runs, with one evaluator for all.

    [bold]Example[/bold]

    taco-kd evaluate taco-kd-out/runs/nano-baseline taco-kd-out/runs/nano-paper
    """
    from taco_kd.environment import pick_device
    from taco_kd.evaluate.stage import evaluate as stage
    from taco_kd.progress import task
    from taco_kd.runs import DataDir, RunDir, split_named

    chosen = split_named(split)
    opened = [RunDir.open(path) for path in runs]
    found = {}
    for run in opened:
        with task(f"evaluate {run.name}") as tick:
            found[str(run.path)] = stage(
                run,
                DataDir.open(data) if data else None,
                chosen,
                device=pick_device(device),
                on_progress=tick,
            )
    if as_json:
        print_json({name: metrics.to_json() for name, metrics in found.items()})
        return
    columns, rows = metric_rows({name: metrics.to_json() for name, metrics in found.items()})
    print_table(columns, rows, title="AP x 100")
