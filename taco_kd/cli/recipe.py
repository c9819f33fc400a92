"""``taco-kd recipe``: what a recipe is, setting by setting, and where each value comes from."""

from __future__ import annotations

import json
from typing import Annotated, Any, Optional

import typer

from taco_kd.cli.common import AsJson, print_json, print_table, say

app = typer.Typer(
    name="recipe",
    help="What recipes there are, and what is in them.\n\n[bold]Examples[/bold]\n\ntaco-kd recipe list\n\n"
    "taco-kd recipe show paper",
    no_args_is_help=True,
    add_completion=False,
)


@app.command("list")
def list_recipes(as_json: AsJson = False) -> None:
    """All recipes of the package; the same as taco-kd list recipes."""
    from taco_kd.cli.listing import list_

    list_("recipes", as_json=as_json)


@app.command("show")
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="paper, paper-code, matched, or another of taco-kd recipe list, or a .toml file.",
            metavar="NAME",
        ),
    ],
    teacher: Annotated[
        Optional[list[str]],
        typer.Option(
            help="As in taco-kd distill: with dinov3-vit, paper means dinov3-vit-paper. Repeatable."
        ),
    ] = None,
    settings: Annotated[
        Optional[list[str]],
        typer.Option("--set", help="Override one setting, to see what comes of it. Repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Every setting of a recipe with its value and its source: the recipe's file, a flag, or the default.

    Beside values that a file sets stands its comment on them: in the paper's recipes the place in the paper.

    [bold]Examples[/bold]

    taco-kd recipe show paper

    taco-kd recipe show corrected --teacher dinov3-vit

    taco-kd recipe show nano-matched --set distill.pairing=hungarian --json
    """
    from taco_kd.cli.teachers import recipe_for, teacher_settings
    from taco_kd.config import load_recipe
    from taco_kd.config.resolved import resolved

    full = recipe_for(name, teacher[0] if teacher else None)
    flags: dict[str, list[str]] = {}
    if teacher:
        given = teacher_settings(teacher, load_recipe(full), None, None)
        flags["--teacher"] = [f"{key}={value}" for key, value in given.items() if value is not None]
    flags["--set"] = settings or []
    recipe, found = resolved(full, flags)
    if as_json:
        rows = [{"key": s.key, "value": s.value, "source": s.source, "note": s.note} for s in found]
        print_json({"recipe": full, "description": recipe.description, "settings": rows})
        return
    say(f"{full}: {recipe.description}")
    print_table(
        ["setting", "value", "source", "the file says"],
        [[s.key, _words(s.value), s.source, s.note] for s in found if s.key not in ("name", "description")],
    )


def _words(value: Any) -> str:
    """As TOML would have it; a dash for what is not set."""
    if value is None:
        return "–"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
