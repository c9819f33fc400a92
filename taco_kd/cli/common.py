"""What several commands share: options, the built-in fallback data, and printing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from taco_kd.runs import DataDir

OUT = "taco-kd-out"
"""Where commands without ``--out`` put and look for their results."""

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run left in --out.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="A prepared dataset.", show_default=f"{OUT}/data, made of synthetic scenes if absent"
    ),
]
AreasOption = Annotated[
    str,
    typer.Option(
        help="Small, medium and large by pixels of the prepared images (resized) or photos (original)."
    ),
]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda or cuda:1.")]


def print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """A table on stdout; plain and unwrapped when stdout is not a terminal."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for number, column in enumerate(columns):
        numbers = number > 0 and all(_is_figure(row[number]) for row in rows)
        table.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*[escape(cell) for cell in row])
    console.print(table)


def _is_figure(cell: str) -> bool:
    return cell in ("", "–", "n/a") or cell[0].isdigit() or cell[0] in "[+-"


def say(text: str) -> None:
    """A line of the result on stdout."""
    typer.echo(text)


def points(value: float | None) -> str:
    """AP in 0..1 as points with one decimal; a dash where there is nothing to measure."""
    return "–" if value is None else f"{100 * value:.1f}"


def metric_rows(named: dict[str, dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table of metrics."""
    keys = ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar100"]
    columns = ["model", "AP", "AP50", "AP75", "AP S", "AP M", "AP L", "AR100"]
    return columns, [[name, *(points(metrics[k]) for k in keys)] for name, metrics in named.items()]


def data_or_synthetic(path: Path | None) -> DataDir:
    """The dataset at ``path``; without one, the default folder, made of synthetic scenes if it is absent."""
    from taco_kd.errors import UsageError
    from taco_kd.launch import launched
    from taco_kd.progress import notice
    from taco_kd.runs import DataDir

    if path is not None:
        return DataDir.open(path)
    default = Path(OUT) / "data"
    if DataDir(default).record_file.is_file():
        notice(f"Data: {default} (no --data given).")
        return DataDir.open(default)
    if launched():
        raise UsageError(
            "several processes need a dataset that is there: taco-kd prepare, then --data FOLDER"
        )
    notice(f"No dataset given: using the built-in synthetic scenes, prepared in {default}.")
    from taco_kd.config import PrepareConfig
    from taco_kd.data.prepare import prepare
    from taco_kd.progress import task

    with task("prepare") as tick:
        return prepare(PrepareConfig(source="synthetic"), default, on_progress=tick)
