"""``taco-kd compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from taco_kd.cli.common import AreasOption, AsJson, print_json, print_table, say

if TYPE_CHECKING:
    from taco_kd.evaluate.arms import ArmOfRuns
    from taco_kd.evaluate.comparison import ArmOfFiles
    from taco_kd.runs import RunDir, Split


def compare(
    paths: Annotated[
        Optional[list[Path]],
        typer.Argument(
            help="Run folders or COCO results files (.json); the first is the reference.", metavar="PATH"
        ),
    ] = None,
    annotations: Annotated[
        Optional[Path],
        typer.Option(help="COCO ground truth of results files.", show_default="that of the runs"),
    ] = None,
    arm: Annotated[
        Optional[list[str]],
        typer.Option(
            help="NAME=PATH,PATH: training seeds of one model, as runs or as results files. Repeatable."
        ),
    ] = None,
    group_seeds: Annotated[
        bool, typer.Option(help="Take runs that differ only in the training seed as one model.")
    ] = True,
    group_by: Annotated[
        Optional[str],
        typer.Option(
            help="Resample images that belong together as wholes: a key of the image records, a prefix of "
            "the folders in their file names (batch), or a .json or .csv file from image to group."
        ),
    ] = None,
    plan: Annotated[
        Optional[float],
        typer.Option(
            help="Also say how many images it takes to find a true difference of this many AP points."
        ),
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Also print the differences by object size and by class.")
    ] = False,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Compare each with each, instead of each with the first.")
    ] = False,
    interval: Annotated[
        str, typer.Option(help="Bootstrap interval to report: bca or basic; --json gives both.")
    ] = "bca",
    areas: AreasOption = "resized",
    split: Annotated[str, typer.Option(help="Split of the runs' dataset: val or train.")] = "val",
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples of the images.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 0,
    out: Annotated[Optional[Path], typer.Option(help="Also write the comparison to this JSON file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Is the difference real? Paired interval, p-value and a verdict in words.

    [bold]Examples[/bold]

    taco-kd compare taco-kd-out/runs/nano-baseline taco-kd-out/runs/nano-paper

    taco-kd compare a.json b.json --annotations gt.json --plan 1.0

    taco-kd compare --arm plain=a0.json,a1.json --arm distilled=b0.json,b1.json --annotations gt.json
    """
    from taco_kd.cli.comparison_tables import class_table, plan_table, summary_table
    from taco_kd.errors import chosen
    from taco_kd.evaluate.comparison import compare_arms
    from taco_kd.evaluate.intervals import METHODS
    from taco_kd.evaluate.results_file import read_ground_truth
    from taco_kd.evaluate.truth import AREAS
    from taco_kd.files import write_json
    from taco_kd.progress import notice, task, warn
    from taco_kd.runs import split_named

    method = chosen("interval", interval, METHODS)
    area_space = chosen("areas", areas, AREAS)
    of_split = split_named(split)
    arms = _arms(paths or [], arm or [], group_seeds)
    truth = None if annotations is None else read_ground_truth(annotations)
    _evaluate([run for each in arms for run in getattr(each, "runs", ())], of_split)
    with task("compare") as tick:
        result = compare_arms(
            arms,
            truth,
            split=of_split,
            resamples=resamples,
            seed=seed,
            group_by=group_by,
            areas=area_space,
            interval=method,
            all_pairs=all_pairs,
            plan_for=None if plan is None else plan / 100,
            on_progress=tick,
        )
    if out is not None:
        write_json(out, result.to_json())
    if as_json:
        print_json(result.to_json())
        return
    for text in result.notes:
        notice(text)
    for text in result.confounders:
        warn(text)
    for difference in result.differences:
        say(difference.words)
    print_table(*summary_table(result), title="AP x 100")
    for difference in result.differences:
        if difference.plan is not None and difference.plan_words is not None:
            say(f"{difference.name} and {difference.reference}: {difference.plan_words}.")
            print_table(*plan_table(difference.plan))
    if per_class:
        for difference in result.differences:
            title = f"{difference.name} minus {difference.reference}, AP x 100; exploratory, not corrected"
            print_table(*class_table(difference), title=title)
    say(result.caveat)


def _arms(paths: list[Path], named: list[str], group_seeds: bool) -> list[ArmOfRuns | ArmOfFiles]:
    """The arms in the order they were given: paths first, then ``--arm``."""
    from taco_kd.errors import UsageError
    from taco_kd.evaluate.arms import arms_of, named_arm, parse_arm
    from taco_kd.evaluate.comparison import ArmOfFiles
    from taco_kd.runs import RunDir

    if len(paths) + len(named) < 2:
        raise UsageError("compare needs at least two run folders or results files: the reference first")
    files = [path for path in paths if _is_file(path)]
    runs = [RunDir.open(path) for path in paths if not _is_file(path)]
    alone = len({path.stem for path in files}) == len(files)
    of_files = [ArmOfFiles(path.stem if alone else str(path), (path,)) for path in files]
    of_runs = arms_of(runs, group_seeds=group_seeds, alone=not (files or named)) if runs else []
    found: list[ArmOfRuns | ArmOfFiles] = [*of_runs, *of_files]
    found.sort(key=lambda each: min(map(paths.index, _paths(each))))
    for text in named:
        name, members = parse_arm(text)
        if all(_is_file(path) for path in members):
            found.append(ArmOfFiles(name, members))
        elif not any(_is_file(path) for path in members):
            found.append(named_arm(name, [RunDir.open(path) for path in members]))
        else:
            raise UsageError(f"--arm {text}: give run folders or results files, not both in one arm")
    return found


def _evaluate(runs: list[RunDir], split: Split) -> None:
    """Those that have not been yet; files need neither this nor torch."""
    if runs:
        from taco_kd.evaluate.stage import evaluate

        for run in runs:
            evaluate(run, split=split)


def _paths(arm: ArmOfRuns | ArmOfFiles) -> list[Path]:
    from taco_kd.evaluate.arms import ArmOfRuns

    return [run.path for run in arm.runs] if isinstance(arm, ArmOfRuns) else list(arm.files)


def _is_file(path: Path) -> bool:
    return path.suffix == ".json" or path.is_file()
