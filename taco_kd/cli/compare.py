"""``taco-kd compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from taco_kd.cli.common import AsJson, print_json, say


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; the first is the reference.")],
    split: Annotated[str, typer.Option(help="val or train")] = "val",
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples of the images.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = 0,
    out: Annotated[Optional[Path], typer.Option(help="Also write the comparison to this JSON file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Is the difference real? Paired interval, p-value and a verdict in words.

    [bold]Example[/bold]

    taco-kd compare taco-kd-out/runs/nano-baseline taco-kd-out/runs/nano-paper
    """
    from taco_kd.errors import UsageError
    from taco_kd.evaluate.comparison import compare_runs
    from taco_kd.evaluate.stage import evaluate
    from taco_kd.files import write_json
    from taco_kd.progress import task, warn
    from taco_kd.runs import RunDir, split_named

    if len(runs) < 2:
        raise UsageError("compare needs at least two run folders: the reference first")
    chosen = split_named(split)
    opened = [RunDir.open(path) for path in runs]
    for run in opened:
        evaluate(run, split=chosen)
    with task("compare") as tick:
        result = compare_runs(opened, split=chosen, resamples=resamples, seed=seed, on_progress=tick)
    if out is not None:
        write_json(out, result.to_json())
    if as_json:
        print_json(result.to_json())
        return
    for text in result.confounders:
        warn(text)
    for difference in result.differences:
        say(difference.words)
    say(result.caveat)
