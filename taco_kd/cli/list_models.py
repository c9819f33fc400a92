"""The table of ``taco-kd list models``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from taco_kd.cli.common import print_json, print_table, say

if TYPE_CHECKING:
    from taco_kd.models.costs import ModelCost
    from taco_kd.models.entry import FeatureEntry, ModelEntry


def print_models(only: str | None, measure: bool, out: Path | None, as_json: bool) -> None:
    from dataclasses import asdict
    from fnmatch import fnmatch

    from taco_kd.errors import UsageError, one_of
    from taco_kd.models.costs import CLASSES, shipped_costs
    from taco_kd.models.feature_zoo import FEATURE_MODELS
    from taco_kd.models.hub import weights_status
    from taco_kd.models.zoo import MODELS

    every: list[ModelEntry | FeatureEntry] = [*MODELS.values(), *FEATURE_MODELS.values()]
    entries = [entry for entry in every if only is None or fnmatch(entry.name, only)]
    if not entries:
        raise UsageError(one_of("model", only, [entry.name for entry in every]))
    costs = _measured(entries, out) if measure else shipped_costs()
    if as_json:
        print_json(
            [
                {
                    "name": e.name,
                    "family": e.family,
                    "image_size": e.image_size,
                    "licence": e.licence,
                    "weights": weights_status(e),
                    "cost": asdict(costs[e.name]) if e.name in costs else None,
                    "about": e.note,
                }
                for e in entries
            ]
        )
        return
    columns = [
        "name",
        "family",
        "input",
        "params M",
        "GFLOPs",
        "paper M",
        "paper G",
        "licence",
        "weights",
        "here",
    ]
    rows = [
        [e.name, e.family, f"{e.image_size} px", *_figures(costs.get(e.name)), e.licence, *_weights(e)]
        for e in entries
    ]
    print_table(columns, rows)
    say(
        f"With {CLASSES} classes, one image. GFLOPs: 2 x multiply-adds of convolutions and matrix products, "
        "attention included; paper: as its Table I counts (thop 0.1.1). "
        "How to get weights that are not here: taco-kd list models --json"
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
    figures = (cost.parameters / 1e6, cost.gflops, cost.paper_parameters_m, cost.paper_gflops)
    return [f"{figure:.2f}" for figure in figures]


def _weights(entry: Any) -> list[str]:
    """Where the weights come from, and whether they are on this machine."""
    from taco_kd.models.hub import weights_status

    status = weights_status(entry)
    if entry.published is None:
        return [status, "yes" if status == "packaged" else "–"]
    return [entry.published.repo, "no" if "not here" in status else "yes"]
