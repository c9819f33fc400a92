"""``taco-kd study``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from taco_kd.cli.common import OUT, AsJson, print_json, print_table, say

if TYPE_CHECKING:
    from taco_kd.study.outcome import Outcome
    from taco_kd.study.plan import Plan
    from taco_kd.study.status import CellStatus


def study(
    file: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study (taco-kd list studies) or a .toml file.")
    ],
    out: Annotated[
        Optional[Path], typer.Option(help="Folder of the study.", show_default=f"{OUT}/studies/NAME")
    ] = None,
    data: Annotated[
        Optional[Path], typer.Option(help="A prepared dataset, instead of the one the study names.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells, what is done and what is left; write nothing.")
    ] = False,
    only: Annotated[
        Optional[str],
        typer.Option(
            metavar="PATTERN",
            help="Only the cells whose names fit this pattern, for example 'baseline_*_seed0'.",
        ),
    ] = None,
    jobs: Annotated[
        Optional[int],
        typer.Option(min=1, help="How many cells run at a time.", show_default="one for each GPU, else 1"),
    ] = None,
    launcher: Annotated[
        str, typer.Option(help="What runs the cells: local (processes of this machine), slurm or ray.")
    ] = "local",
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples of the comparisons.")] = 1000,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Run again the cells whose settings or data have changed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """A grid of runs (recipe x initial weights x seed x fold) and its verdicts; called again, it goes on.

    [bold]Examples[/bold]

    taco-kd study table1-nano --dry-run

    taco-kd study table1-nano --jobs 2

    taco-kd study mine.toml --out studies/mine --launcher slurm --jobs 8
    """
    from taco_kd.errors import TacoKDError
    from taco_kd.progress import task
    from taco_kd.study.config import load_study, study_text
    from taco_kd.study.plan import plan
    from taco_kd.study.stage import run_study

    config = load_study(file)
    folder = out or Path(OUT) / "studies" / config.name
    if dry_run:
        _print_plan(plan(config, folder, data_path=data, only=only), jobs or 1, as_json)
        return
    outcome = run_study(
        config,
        study_text(file),
        folder,
        data_path=data,
        only=only,
        jobs=jobs,
        launched_by=launcher,
        overwrite=overwrite,
        resamples=resamples,
        task=task,
    )
    if as_json:
        print_json(outcome.to_json())
    else:
        _print(outcome)
    if outcome.failed:
        names = ", ".join(status.cell.id for status in outcome.failed)
        raise TacoKDError(f"{len(outcome.failed)} of {len(outcome.chosen)} cells failed: {names}")


def _print_plan(found: Plan, jobs: int, as_json: bool) -> None:
    from taco_kd.progress import notice

    if as_json:
        print_json(found.to_json())
        return
    rows = [
        [
            status.cell.id,
            _steps(status),
            f"{status.seconds:.0f}",
            status.state + (f": {status.reason}" if status.reason else ""),
        ]
        for status in found.statuses
    ]
    print_table(["cell", "steps", "seconds", "state"], rows)
    done = sum(status.state == "finished" for status in found.statuses)
    left = found.seconds_left
    if done == len(rows):
        rest = "nothing is left to run"
    elif left is None:
        rest = "no estimate of the time before a cell has finished"
    else:
        rest = f"about {_duration(left / jobs)} of training left, {jobs} at a time"
    say(f"{done} of {len(rows)} cells are finished; {rest}.")
    for note in found.notes:
        notice(note)


def _print(outcome: Outcome) -> None:
    from taco_kd.progress import warn
    from taco_kd.study.markdown import title, verdicts
    from taco_kd.study.table import COLUMNS

    print_table(COLUMNS, [row.cells() for row in outcome.rows], title=f"{outcome.study.name}: AP x 100")
    for question in outcome.questions:
        say(f"{title(question)}:")
        for line in verdicts(question):
            say(f"  {line}")
        if question.comparison is not None:
            for line in question.comparison.confounders:
                warn(line)
    caveats = dict.fromkeys(q.comparison.caveat for q in outcome.questions if q.comparison is not None)
    for caveat in caveats:
        say(caveat)
    say(f"Outcome: {outcome.text}, {outcome.record}")
    for page in outcome.pages:
        say(f"Report: {page}")


def _steps(status: CellStatus) -> str:
    if status.steps_total is None:
        return f"{status.cell.recipe.train.epochs} epochs"
    return f"{status.steps_done:,} of {status.steps_total:,}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
