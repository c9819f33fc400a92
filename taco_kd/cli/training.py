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
from taco_kd.cli.model_options import (
    AddPrefix,
    AllowPartial,
    BackboneFrom,
    ImageSize,
    StripPrefix,
    Weights,
    WeightsClasses,
    student_settings,
    teacher_settings,
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
    model: Annotated[
        Optional[str],
        typer.Option(help="Model to train (taco-kd list models), or a transformers folder or hub name."),
    ] = None,
    weights: Weights = None,
    backbone_from: BackboneFrom = None,
    weights_classes: WeightsClasses = None,
    strip_prefix: StripPrefix = None,
    add_prefix: AddPrefix = None,
    allow_partial: AllowPartial = False,
    image_size: ImageSize = None,
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
    overrides = _overrides(
        settings,
        student_settings(
            model,
            weights,
            backbone_from,
            weights_classes,
            strip_prefix,
            add_prefix,
            allow_partial,
            image_size,
        ),
        steps=steps,
        seed=seed,
        device=device,
    )
    _run(recipe, overrides, data, out, resume, overwrite, as_json)


def distill(
    teacher: Annotated[
        Optional[str],
        typer.Option(
            help="conditional-detr (the packaged nano teacher), dinov3-convnext, dinov3-vit, a model of the "
            "list, a run or transformers folder, a .safetensors, .pth, .pt or .onnx file, or a hub name. "
            "[default: the recipe's]"
        ),
    ] = None,
    data: DataOption = None,
    out: Annotated[Optional[Path], typer.Option(help=f"Run folder. [default: {OUT}/runs/RECIPE]")] = None,
    recipe: Annotated[
        str, typer.Option(help="A recipe (taco-kd list recipes) or a .toml file.")
    ] = "nano-paper",
    student: Annotated[
        Optional[str],
        typer.Option(help="Student model (taco-kd list models), or a transformers folder or hub name."),
    ] = None,
    weights: Weights = None,
    backbone_from: BackboneFrom = None,
    weights_classes: WeightsClasses = None,
    strip_prefix: StripPrefix = None,
    add_prefix: AddPrefix = None,
    allow_partial: AllowPartial = False,
    image_size: ImageSize = None,
    teacher_model: Annotated[
        Optional[str], typer.Option(help="Which model a --teacher file holds that does not say so itself.")
    ] = None,
    teacher_classes: Annotated[
        Optional[str], typer.Option(help="Like --weights-classes, for the teacher.")
    ] = None,
    class_map: Annotated[
        Optional[str],
        typer.Option(
            help="For classes that teacher and student name differently: coco-to-taco, another shipped table "
            "(taco-kd list tables), or a CSV file with the columns from,to."
        ),
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
    given = student_settings(
        student,
        weights,
        backbone_from,
        weights_classes,
        strip_prefix,
        add_prefix,
        allow_partial,
        image_size,
    )
    given["distill.class_map"] = class_map
    if resume is None:
        given |= teacher_settings(teacher, recipe, teacher_model, teacher_classes)
    overrides = _overrides(settings, given, steps=steps, seed=seed, device=device)
    _run(recipe, overrides, data, out, resume, overwrite, as_json)


def _overrides(
    settings: list[str] | None,
    given: dict[str, Any],
    *,
    steps: int | None,
    seed: int | None,
    device: str,
) -> list[str]:
    flags: dict[str, Any] = {
        **given,
        "train.steps": steps,
        "train.seed": seed,
        "train.device": None if device == "auto" else device,
    }
    return [f"{key}={value}" for key, value in flags.items() if value is not None] + (settings or [])


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
    from taco_kd.models.settings import locate
    from taco_kd.progress import task
    from taco_kd.runs import DataDir
    from taco_kd.train.stage import train as stage

    if resume is not None:
        recipe, data_path = _resumed(resume)
        data, out = DataDir.open(data_path), resume
    else:
        recipe = load_recipe(recipe_name, overrides)
        locate(recipe.student, recipe.teacher)
        data = data_or_synthetic(data_path)
        out = out or Path(OUT) / "runs" / recipe.name
    with task(recipe.name) as tick:
        run = stage(recipe, data, out, overwrite=overwrite, resume=resume is not None, on_progress=tick)
    device = pick_device(recipe.train.device)
    with task("evaluate") as tick:
        after = evaluate(run, device=device, on_progress=tick)
    before = evaluate_initial(run, device=device)
    if as_json:
        print_json({"run": str(run.path), "before": before.to_json(), "after": after.to_json()})
        return
    columns, rows = metric_rows({"before": before.to_json(), "after": after.to_json()})
    print_table(columns, rows, title=f"{recipe.name}: {after.images} validation images, AP x 100")
    say(f"Run: {run.path}")
