"""``taco-kd list``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from taco_kd.cli.common import AsJson, print_json, print_table, say

if TYPE_CHECKING:
    from taco_kd.models.costs import ModelCost


def list_(
    what: Annotated[str, typer.Argument(help="models, recipes or sources")] = "models",
    only: Annotated[
        Optional[str], typer.Option(help="Models whose name fits this pattern, for example 'rtdetr-*'.")
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Build each model and count its parameters and FLOPs here and now."),
    ] = False,
    out: Annotated[
        Optional[Path], typer.Option(help="With --measure: also write the figures to this CSV file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The models, recipes and data sources there are.

    [bold]Examples[/bold]

    taco-kd list

    taco-kd list models --only 'rtdetr-*' --measure

    taco-kd list recipes
    """
    from taco_kd.errors import UsageError, one_of

    tables = {"models": None, "recipes": _recipes, "sources": _sources}
    if what not in tables:
        raise UsageError(one_of("list", what, tables))
    if what != "models" and (measure or only or out):
        raise UsageError("--measure, --only and --out go with: taco-kd list models")
    if out and not measure:
        raise UsageError("--out goes with --measure")
    if what == "models":
        _models(only, measure, out, as_json)
        return
    columns, rows = _recipes() if what == "recipes" else _sources()
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print_table(columns, rows)


def _models(only: str | None, measure: bool, out: Path | None, as_json: bool) -> None:
    from dataclasses import asdict
    from fnmatch import fnmatch

    from taco_kd.errors import UsageError, one_of
    from taco_kd.models.costs import CLASSES, shipped_costs
    from taco_kd.models.zoo import MODELS

    entries = [entry for entry in MODELS.values() if only is None or fnmatch(entry.name, only)]
    if not entries:
        raise UsageError(one_of("model", only, MODELS))
    costs = _measured(entries, out) if measure else shipped_costs()
    if as_json:
        print_json(
            [
                {
                    "name": e.name,
                    "family": e.family,
                    "image_size": e.image_size,
                    "licence": e.licence,
                    "weights": _weights(e),
                    "cost": asdict(costs[e.name]) if e.name in costs else None,
                    "about": e.note,
                }
                for e in entries
            ]
        )
        return
    columns = ["name", "family", "input", "params M", "GFLOPs", "paper M", "paper G", "licence", "weights"]
    rows = [
        [e.name, e.family, f"{e.image_size} px", *_figures(costs.get(e.name)), e.licence, _weights(e)]
        for e in entries
    ]
    print_table(columns, rows)
    say(
        f"With {CLASSES} classes, one image. GFLOPs: 2 x multiply-adds of convolutions and matrix products, "
        "attention included; paper: as its Table I counts (thop 0.1.1), where it has such a row."
    )


def _measured(entries: list[Any], out: Path | None) -> dict[str, ModelCost]:
    from taco_kd.bench.model_table import measure_all, write_costs
    from taco_kd.progress import task

    found = []
    with task("measure", len(entries)) as tick:
        for cost in measure_all(entries):
            found.append(cost)
            tick(len(found), len(entries), cost.name)
    if out is not None:
        write_costs(out, found)
    return {cost.name: cost for cost in found}


def _figures(cost: ModelCost | None) -> list[str]:
    if cost is None:
        return ["–"] * 4
    paper = [cost.paper_parameters_m, cost.paper_gflops]
    return [
        f"{cost.parameters / 1e6:.2f}",
        f"{cost.gflops:.2f}",
        *("–" if value is None else f"{value:.2f}" for value in paper),
    ]


def _weights(entry: Any) -> str:
    return "packaged" if entry.packaged else "none"


def _recipes() -> tuple[list[str], list[list[str]]]:
    from taco_kd.config import load_recipe, recipe_names

    recipes = [load_recipe(name) for name in recipe_names()]
    return ["name", "student", "teacher", "about"], [
        [r.name, r.student.model, r.teacher.model if r.teacher else "–", r.description] for r in recipes
    ]


def _sources() -> tuple[list[str], list[list[str]]]:
    return ["name", "options", "about"], [
        ["synthetic", "--scenes --seed", "built-in drawn litter scenes with ten TACO classes"],
        ["taco", "--root", "TACO's own layout: annotations.json and batch_*/"],
        ["coco", "--images --annotations", "a folder of images and a COCO file"],
    ]
