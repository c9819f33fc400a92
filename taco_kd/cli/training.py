"""``taco-kd train`` and ``taco-kd distill``: the same stage, without and with a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from taco_kd.cli.common import (
    OUT,
    AsJson,
    DataOption,
    Device,
    Overwrite,
    data_or_synthetic,
    metric_rows,
    print_json,
    print_table,
    say,
)

if TYPE_CHECKING:
    from taco_kd.config import Recipe

Settings = Annotated[
    Optional[list[str]],
    typer.Option("--set", help="Override one setting, for example train.lr=1e-4. Repeatable."),
]
Steps = Annotated[Optional[int], typer.Option(help="Optimiser steps, instead of the recipe's length.")]
Seed = Annotated[Optional[int], typer.Option(help="Seed of data order, augmentation and new layers.")]
Resume = Annotated[
    Optional[Path], typer.Option(help="Go on with the stopped run in this folder, with its own settings.")
]


def train(
    data: DataOption = None,
    out: Annotated[Optional[Path], typer.Option(help=f"Run folder. [default: {OUT}/runs/RECIPE]")] = None,
    recipe: Annotated[
        str, typer.Option(help="A recipe (taco-kd list recipes) or a .toml file.")
    ] = "nano-baseline",
    model: Annotated[Optional[str], typer.Option(help="Model to train (taco-kd list models).")] = None,
    weights: Annotated[
        Optional[str], typer.Option(help="packaged, random, a run folder or a .safetensors file.")
    ] = None,
    steps: Steps = None,
    seed: Seed = None,
    device: Device = "auto",
    settings: Settings = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train a detector on the ground truth alone: the baseline of a comparison, or a teacher.

    [bold]Examples[/bold]

    taco-kd train

    taco-kd train --data mine --out runs/teacher --model conditional-detr-nano --set train.lr=1e-3

    taco-kd train --resume runs/teacher
    """
    overrides = _overrides(settings, model=model, weights=weights, steps=steps, seed=seed, device=device)
    _run(recipe, overrides, data, out, resume, overwrite, as_json)


def distill(
    teacher: Annotated[
        str,
        typer.Option(
            help="conditional-detr (the packaged nano teacher), dinov3-convnext, dinov3-vit, a run folder, "
            "a .safetensors file, or a Hugging Face folder of DINOv3."
        ),
    ] = "conditional-detr",
    data: DataOption = None,
    out: Annotated[Optional[Path], typer.Option(help=f"Run folder. [default: {OUT}/runs/RECIPE]")] = None,
    recipe: Annotated[
        str, typer.Option(help="A recipe (taco-kd list recipes) or a .toml file.")
    ] = "nano-paper",
    student: Annotated[Optional[str], typer.Option(help="Student model (taco-kd list models).")] = None,
    weights: Annotated[
        Optional[str],
        typer.Option(help="Initial student: packaged, random, a run folder or a .safetensors file."),
    ] = None,
    steps: Steps = None,
    seed: Seed = None,
    device: Device = "auto",
    settings: Settings = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train a student with the ground truth and a frozen teacher, at no cost at inference.

    [bold]Examples[/bold]

    taco-kd distill --teacher conditional-detr

    taco-kd distill --teacher runs/teacher --data mine --out runs/distilled

    taco-kd distill --set distill.pairing=hungarian --set distill.feature_weight=0

    taco-kd distill --teacher dinov3-convnext
    """
    overrides = _overrides(settings, model=student, weights=weights, steps=steps, seed=seed, device=device)
    if resume is None:
        # before the user's own, so that a setting against the nature of the teacher is refused, not ignored
        overrides = _teacher_overrides(teacher, recipe) + overrides
    _run(recipe, overrides, data, out, resume, overwrite, as_json)


def _overrides(
    settings: list[str] | None,
    *,
    model: str | None,
    weights: str | None,
    steps: int | None,
    seed: int | None,
    device: str,
) -> list[str]:
    flags: dict[str, Any] = {
        "student.model": model,
        "student.weights": weights,
        "train.steps": steps,
        "train.seed": seed,
        "train.device": None if device == "auto" else device,
    }
    return [f"{key}={value}" for key, value in flags.items() if value is not None] + (settings or [])


def _teacher_overrides(teacher: str, recipe: str) -> list[str]:
    """The settings that ``--teacher`` stands for; a file or run says itself which model it holds."""
    from taco_kd.config import load_recipe
    from taco_kd.errors import MissingResourceError, UsageError
    from taco_kd.progress import notice

    if teacher == "conditional-detr":
        wanted = load_recipe(recipe).teacher
        if wanted is not None and wanted.weights != "packaged":
            raise MissingResourceError(
                f"recipe {recipe} needs a trained {wanted.model}, and none is packaged: "
                "give --teacher a run folder or .safetensors file"
            )
        notice("Teacher: the packaged nano Conditional DETR, trained on synthetic scenes.")
        return ["teacher.model=conditional-detr-nano", "teacher.weights=packaged"]
    features = _feature_teacher(teacher)
    if features is not None:
        model, weights = features
        notice(f"Teacher: {model}, features only; distill.classes and distill.boxes are off.")
        off = ["distill.classes=off", "distill.boxes=off"]
        return [f"teacher.model={model}", f"teacher.weights={weights}", *off]
    if not Path(teacher).exists():
        raise UsageError(
            f"--teacher {teacher}: not conditional-detr, no feature teacher (taco-kd list features), and no "
            "such run folder or .safetensors file"
        )
    from taco_kd.models.weights import read_weights

    _, metadata = read_weights(Path(teacher))
    return [f"teacher.model={metadata.get('model', 'unknown')}", f"teacher.weights={teacher}"]


def _feature_teacher(teacher: str) -> tuple[str, str] | None:
    """Model and weights settings if ``--teacher`` means a feature teacher, by name or by path."""
    from taco_kd.models.feature_zoo import FEATURE_MODELS, name_in

    paper = {"dinov3-convnext": "dinov3-convnext-b", "dinov3-vit": "dinov3-vit-b"}
    name = paper.get(teacher, teacher)
    if name in FEATURE_MODELS:
        return name, "published"
    held = name_in(Path(teacher)) if Path(teacher).exists() else None
    return None if held is None else (held, teacher)


def _resumed(folder: Path) -> tuple[Recipe, Path]:
    from taco_kd.config import Recipe, validate
    from taco_kd.errors import DataError
    from taco_kd.runs import RunDir

    run = RunDir(folder)
    if not run.record_file.is_file():
        raise DataError(f"{folder}: not a run folder (no run.json), so there is nothing to resume")
    record = run.record()
    return validate(Recipe, record["recipe"], where=str(run.record_file)), Path(record["data"]["path"])


def _run(
    recipe_name: str,
    overrides: list[str],
    data_path: Path | None,
    out: Path | None,
    resume: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    from taco_kd.config import load_recipe
    from taco_kd.environment import pick_device
    from taco_kd.evaluate.stage import evaluate, evaluate_initial
    from taco_kd.progress import notice, task
    from taco_kd.runs import DataDir
    from taco_kd.train.stage import train as stage

    if resume is not None:
        recipe, data_path = _resumed(resume)
        data, out = DataDir.open(data_path), resume
    else:
        recipe = load_recipe(recipe_name, overrides)
        data = data_or_synthetic(data_path)
        out = out or Path(OUT) / "runs" / recipe.name
    with task(recipe.name) as tick:
        run = stage(recipe, data, out, overwrite=overwrite, resume=resume is not None, on_progress=tick)
    device = pick_device(recipe.train.device)
    for load in run.record()["loads"]:
        if load["by_class"]:
            known, classes = len(load["rows_by_name"]), len(data.class_names)
            if known < classes:
                notice(f"Initial weights know {known} of the {classes} classes; the others start at random.")
    with task("evaluate") as tick:
        after = evaluate(run, device=device, on_progress=tick)
    before = evaluate_initial(run, device=device)
    if as_json:
        print_json({"run": str(run.path), "before": before.to_json(), "after": after.to_json()})
        return
    columns, rows = metric_rows({"before": before.to_json(), "after": after.to_json()})
    print_table(columns, rows, title=f"{recipe.name}: {after.images} validation images, AP x 100")
    say(f"Run: {run.path}")
