"""The grid of a study as cells: each is one run with a recipe, a seed and a fold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter
from itertools import product
from pathlib import Path
from typing import Any

from taco_kd.config import Recipe, load_recipe, validate
from taco_kd.errors import UsageError
from taco_kd.runs import RunDir
from taco_kd.study.config import ArmConfig, InitialisationConfig, StudyConfig


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes:
        id: name of its run folder: arm, initialisation, seed and fold, joined by underscores.
        initialisation: None where the study leaves the initial weights to the recipes.
        fold: None without cross-validation.
        recipe: complete settings; its name is the arm with the initialisation, alike for all seeds and folds.
        needs: ids of cells whose finished runs this one starts from or learns from.
        run: where it is; not finished before it was trained.
    """

    id: str
    arm: str
    initialisation: str | None
    seed: int
    fold: int | None
    recipe: Recipe
    needs: tuple[str, ...]
    run: RunDir


def expand(study: StudyConfig, out: Path) -> tuple[Cell, ...]:
    """All cells in the order they are run: what others need first, then seed by seed.

    Seed by seed, so that a study that is stopped has whole comparisons rather than whole arms.

    Raises:
        UsageError: an arm's recipe does not exist, or its settings are not valid.
    """
    folder = out.resolve() / "runs"
    recipes = {
        (arm.name, start.name if start else None): _recipe(study, arm, start)
        for arm in study.arms
        for start in study.initialisations_of(arm)
    }
    folds = [None] if study.folds is None else list(range(study.folds.count))
    cells = []
    for seed, fold in product(study.seeds, folds):
        for start in study.initialisations or (None,):
            for arm in study.arms:
                name = start.name if start else None
                if (arm.name, name) in recipes:
                    cells.append(_cell(study, folder, arm, name, seed, fold, recipes[arm.name, name]))
    return _needed_first(cells)


def _cell(
    study: StudyConfig,
    folder: Path,
    arm: ArmConfig,
    start: str | None,
    seed: int,
    fold: int | None,
    recipe: Recipe,
) -> Cell:
    def name(arm_name: str) -> str:
        starts = [s.name for s in study.initialisations_of(study.arm(arm_name)) if s is not None]
        own = starts[0] if len(starts) == 1 else start
        parts = [arm_name, own, f"seed{seed}", None if fold is None else f"fold{fold}"]
        return "_".join(part for part in parts if part is not None)

    changes: dict[str, Any] = {"train": {"seed": seed}}
    if arm.student_from is not None:
        changes["student"] = {"weights": str(folder / name(arm.student_from)), "backbone_from": None}
    if arm.teacher_from is not None:
        changes["teacher"] = {"weights": str(folder / name(arm.teacher_from))}
    values = merged(recipe.model_dump(mode="json"), changes)
    return Cell(
        id=name(arm.name),
        arm=arm.name,
        initialisation=start,
        seed=seed,
        fold=fold,
        recipe=validate(Recipe, values, where=f"arm {arm.name}"),
        needs=tuple(name(source) for source in (arm.student_from, arm.teacher_from) if source is not None),
        run=RunDir(folder / name(arm.name)),
    )


def _recipe(study: StudyConfig, arm: ArmConfig, start: InitialisationConfig | None) -> Recipe:
    """The arm's recipe with, one after the other, the study's, the initialisation's and its own settings."""
    values = load_recipe(arm.recipe).model_dump(mode="json")
    values = merged(values, study.set)
    if start is not None:
        weights = {"weights": start.weights, "backbone_from": start.backbone_from}
        student = {key: value for key, value in weights.items() if value is not None}
        values = merged(merged(values, start.set), {"student": student})
    values = merged(values, arm.set)
    values["name"] = arm.name if start is None else f"{arm.name}_{start.name}"
    return validate(Recipe, values, where=f"study {study.name}: arm {arm.name}")


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with those of ``changes`` in their place; tables are merged key by key."""
    result = dict(values)
    for key, change in changes.items():
        old = result.get(key)
        both = isinstance(change, Mapping) and (old is None or isinstance(old, Mapping))
        result[key] = merged(old or {}, change) if both else change
    return result


def _needed_first(cells: list[Cell]) -> tuple[Cell, ...]:
    depth: dict[str, int] = {}
    by_id = {cell.id: cell for cell in cells}
    for cell_id in TopologicalSorter({cell.id: cell.needs for cell in cells}).static_order():
        depth[cell_id] = 1 + max((depth[need] for need in by_id[cell_id].needs), default=-1)
    return tuple(sorted(cells, key=lambda cell: depth[cell.id]))


def select(cells: tuple[Cell, ...], pattern: str) -> tuple[Cell, ...]:
    """Cells whose id matches a shell pattern such as ``baseline_*_seed0``, and those that they need.

    Raises:
        UsageError: no cell matches.
    """
    chosen = {cell.id for cell in cells if fnmatchcase(cell.id, pattern)}
    if not chosen:
        some = ", ".join(cell.id for cell in cells[:3])
        raise UsageError(f"--only {pattern!r}: none of the {len(cells)} cells matches; they are {some}, ...")
    for cell in reversed(cells):  # those that are needed come before those that need them
        if cell.id in chosen:
            chosen.update(cell.needs)
    return tuple(cell for cell in cells if cell.id in chosen)


def waves(cells: tuple[Cell, ...]) -> Iterator[list[Cell]]:
    """Groups of cells that can run side by side, each needing only cells of earlier groups or none."""
    sorter = TopologicalSorter(
        {cell.id: [n for n in cell.needs if any(c.id == n for c in cells)] for cell in cells}
    )
    sorter.prepare()
    while sorter.is_active():
        ready = set(sorter.get_ready())
        yield [cell for cell in cells if cell.id in ready]
        sorter.done(*ready)
