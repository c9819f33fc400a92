"""``taco-kd list``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from taco_kd.cli.common import AsJson, print_json, print_table
from taco_kd.cli.list_models import print_models


def list_(
    what: Annotated[
        str, typer.Argument(help="models, recipes, studies, sources, classes or tables", metavar="WHAT")
    ] = "models",
    name: Annotated[
        Optional[str],
        typer.Argument(help="One label space or class table, to see what is in it.", metavar="NAME"),
    ] = None,
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
    """What there is to choose from: models, recipes, studies, data sources, label spaces and class tables.

    [bold]Examples[/bold]

    taco-kd list

    taco-kd list models --only 'rtdetr-*' --measure

    taco-kd list recipes

    taco-kd list classes coco-91

    taco-kd list tables coco-to-taco
    """
    from taco_kd.errors import UsageError, one_of

    tables = {
        "recipes": _recipes,
        "studies": _studies,
        "sources": _sources,
        "classes": _classes,
        "tables": _class_tables,
    }
    if what not in ("models", *tables):
        raise UsageError(one_of("list", what, ["models", *tables]))
    if name is not None and what not in ("classes", "tables"):
        raise UsageError(f"taco-kd list {what} takes no name: {name!r}")
    if what != "models" and (measure or only or out):
        raise UsageError("--measure, --only and --out go with: taco-kd list models")
    if out and not measure:
        raise UsageError("--out goes with --measure")
    if what == "models":
        print_models(only, measure, out, as_json)
        return
    if name is None:
        columns, rows = tables[what]()
    else:
        columns, rows = _one_space(name) if what == "classes" else _one_table(name)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print_table(columns, rows)


def _recipes() -> tuple[list[str], list[list[str]]]:
    from taco_kd.config import load_recipe, recipe_names

    recipes = [load_recipe(name) for name in recipe_names()]
    return ["name", "student", "teacher", "about"], [
        [r.name, r.student.model, r.teacher.model if r.teacher else "–", r.description] for r in recipes
    ]


def _studies() -> tuple[list[str], list[list[str]]]:
    from taco_kd.study.cells import expand
    from taco_kd.study.config import load_study, study_names

    studies = [load_study(name) for name in study_names()]
    return ["name", "arms", "cells", "about"], [
        [s.name, ", ".join(arm.name for arm in s.arms), str(len(expand(s, Path()))), s.description]
        for s in studies
    ]


def _sources() -> tuple[list[str], list[list[str]]]:
    return ["name", "options", "about"], [
        ["synthetic", "--scenes --seed", "built-in drawn litter scenes with ten TACO classes"],
        ["taco", "--root", "TACO's own layout: annotations.json and batch_*/"],
        ["coco", "--root", "COCO's layout, Roboflow's, or a prepared dataset: a COCO file for each part"],
        ["coco", "--images --annotations", "a folder of images and a COCO file"],
        ["yolo", "--root", "data.yaml or classes.txt, images/ and labels/"],
        ["voc", "--root", "Pascal VOC's layout, or XML files beside images"],
    ]


def _classes() -> tuple[list[str], list[list[str]]]:
    from taco_kd.classes.spaces import NO_CLASS, SPACES, space

    about = {
        "coco-80": "COCO's classes, contiguous: heads of YOLO and RT-DETR",
        "coco-91": "COCO's category ids with their 11 gaps: heads of the DETR family",
        "taco-60": "TACO's categories by id",
        "taco-28": "TACO's supercategories",
        "taco-10": "TACO's own coarser map, usually called TACO-10",
    }
    rows = []
    for key in SPACES:
        names = space(key)
        gaps = names.count(NO_CLASS)
        rows.append([key, str(len(names)), str(len(names) - gaps), about[key]])
    return ["name", "places", "classes", "about"], rows


def _one_space(name: str) -> tuple[list[str], list[list[str]]]:
    from taco_kd.classes.spaces import space_or_file

    return ["index", "class"], [[str(i), label] for i, label in enumerate(space_or_file(name))]


def _class_tables() -> tuple[list[str], list[list[str]]]:
    from taco_kd.classes.tables import TABLES, read_table

    about = {
        "coco-to-taco": "which TACO categories a COCO class can be; many have no partner",
        "taco-60-to-taco-10": "TACO's own map of ten classes",
        "taco-60-to-taco-28": "the supercategory of each category",
    }
    return ["name", "rows", "about"], [[key, str(len(read_table(key).rows)), about[key]] for key in TABLES]


def _one_table(name: str) -> tuple[list[str], list[list[str]]]:
    from taco_kd.classes.tables import read_table

    return ["from", "to", "why"], [[row.source, row.target, row.why] for row in read_table(name).rows]
