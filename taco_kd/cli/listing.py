"""``taco-kd list``."""

from __future__ import annotations

from typing import Annotated

import typer

from taco_kd.cli.common import AsJson, print_json, print_table


def list_(
    what: Annotated[str, typer.Argument(help="models, features, recipes or sources")] = "models",
    as_json: AsJson = False,
) -> None:
    """The models, feature teachers, recipes and data sources there are.

    [bold]Examples[/bold]

    taco-kd list

    taco-kd list recipes
    """
    from taco_kd.errors import UsageError, one_of

    tables = {"models": _models, "features": _features, "recipes": _recipes, "sources": _sources}
    if what not in tables:
        raise UsageError(one_of("list", what, tables))
    columns, rows = tables[what]()
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print_table(columns, rows)


def _models() -> tuple[list[str], list[list[str]]]:
    from taco_kd.models.zoo import MODELS

    return ["name", "family", "input", "weights", "about"], [
        [m.name, m.family, f"{m.image_size} px", "packaged" if m.packaged else "none", m.note]
        for m in MODELS.values()
    ]


def _features() -> tuple[list[str], list[list[str]]]:
    from taco_kd.models.feature_zoo import FEATURE_MODELS

    rows = []
    for m in FEATURE_MODELS.values():
        source = [m.published.repo, m.published.licence] if m.published else ["none", ""]
        rows.append([m.name, m.family, *source, m.note])
    return ["name", "family", "weights", "licence", "about"], rows


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
