"""``taco-kd demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from taco_kd.cli.common import OUT, AsJson, points, print_json, print_table, say


def demo(
    out: Annotated[Path, typer.Option(help="Folder of everything the demo makes.")] = Path(OUT) / "demo",
    steps: Annotated[
        Optional[int], typer.Option(min=1, help="Steps of each arm, instead of the recipes'.")
    ] = None,
    scenes: Annotated[int, typer.Option(min=20, help="How many synthetic scenes to draw.")] = 420,
    seed: Annotated[int, typer.Option(help="Seed of scenes, split, data order and resampling.")] = 0,
    as_json: AsJson = False,
) -> None:
    """The whole job in a few minutes, nothing downloaded: scenes, baseline, distillation, verdict, report.

    [bold]Example[/bold]

    taco-kd demo
    """
    import time

    from taco_kd.demo import demo as stage
    from taco_kd.progress import notice, task

    notice("Built-in synthetic scenes and nano models: nothing is downloaded; figures are of this run.")
    started = time.monotonic()
    result = stage(out, steps=steps, scenes=scenes, seed=seed, task=task)
    if as_json:
        print_json(
            {
                "report": str(result.report),
                "runs": [str(run.path) for run in result.runs],
                "teacher_ap": result.teacher_ap,
                "initial_ap": result.initial_ap,
                "comparison": result.comparison.to_json(),
            }
        )
        return
    say(result.data_line)
    rows = [["teacher (nano Conditional DETR)", points(result.teacher_ap), ""]]
    rows += [["student before", points(result.initial_ap), ""]]
    for arm in result.comparison.arms:
        rows.append([arm.name, points(arm.metrics.ap), f"[{points(arm.ap.low)}, {points(arm.ap.high)}]"])
    print_table(["model", "AP", "95 % interval"], rows)
    for difference in result.comparison.differences:
        say(difference.words)
    say(result.comparison.caveat)
    notice(f"Done in {time.monotonic() - started:.0f} s.")
    say(f"Report: {result.report.resolve()}")
