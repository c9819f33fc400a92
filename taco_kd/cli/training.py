"""``taco-kd train`` and ``taco-kd distill``: the same stage, without and with a teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from taco_kd.cli.common import OUT, AsJson, DataOption, Device, Overwrite
from taco_kd.cli.model_options import (
    AddPrefix,
    AllowPartial,
    BackboneFrom,
    ImageSize,
    StripPrefix,
    Weights,
    WeightsClasses,
    student_settings,
)
from taco_kd.cli.teachers import DEFAULT, recipe_for, teacher_settings
from taco_kd.cli.training_options import Engine, Track, TrackDir, TrackProject, tracking
from taco_kd.cli.training_run import overrides_of, run_training

RunFolder = Annotated[Optional[Path], typer.Option(help="Run folder.", show_default=f"{OUT}/runs/RECIPE")]
RecipeName = Annotated[str, typer.Option(help="A recipe (taco-kd list recipes) or a .toml file.")]
Settings = Annotated[
    Optional[list[str]],
    typer.Option("--set", help="Override one setting, for example train.lr=1e-4. Repeatable."),
]
Steps = Annotated[
    Optional[int], typer.Option(help="How many optimiser steps to train.", show_default="the recipe's")
]
Seed = Annotated[
    Optional[int],
    typer.Option(help="Seed of data order, augmentation and new layers.", show_default="the recipe's"),
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic",
        help="Only operations that give the same losses each time on the same machine; slower on a GPU.",
    ),
]
Resume = Annotated[
    Optional[Path], typer.Option(help="Go on with the stopped run in this folder, with its own settings.")
]


Pseudo = Annotated[
    Optional[Path], typer.Option(help="Also train on these pseudo-labels (taco-kd pseudo-label).")
]
PseudoWeight = Annotated[
    Optional[float],
    typer.Option(help="Share of the images of every step that are pseudo-labelled.", show_default="0.5"),
]


def train(
    data: DataOption = None,
    out: RunFolder = None,
    recipe: RecipeName = "nano-baseline",
    model: Annotated[
        Optional[str],
        typer.Option(
            help="Model to train (taco-kd list models), or a run folder, transformers folder or hub name.",
            show_default="the recipe's",
        ),
    ] = None,
    weights: Weights = None,
    backbone_from: BackboneFrom = None,
    weights_classes: WeightsClasses = None,
    strip_prefix: StripPrefix = None,
    add_prefix: AddPrefix = None,
    allow_partial: AllowPartial = False,
    image_size: ImageSize = None,
    engine: Engine = None,
    pseudo: Pseudo = None,
    pseudo_weight: PseudoWeight = None,
    steps: Steps = None,
    seed: Seed = None,
    device: Device = "auto",
    deterministic: Deterministic = False,
    settings: Settings = None,
    resume: Resume = None,
    track: Track = None,
    track_dir: TrackDir = None,
    track_project: TrackProject = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train a detector on the ground truth alone: the baseline of a comparison, or a teacher.

    [bold]Examples[/bold]

    taco-kd train

    taco-kd train --data mine --out runs/teacher --model conditional-detr-nano --set train.lr=1e-3

    taco-kd train --data mine --pseudo pseudo --pseudo-weight 0.5

    taco-kd train --resume runs/teacher

    taco-kd train --recipe nano-yolo11 --engine ultralytics

    taco-kd train --set train.hold_out=0.1 --set train.keep=best --set train.patience=5 --track tensorboard
    """
    given = student_settings(
        model,
        weights,
        backbone_from,
        weights_classes,
        strip_prefix,
        add_prefix,
        allow_partial,
        image_size,
    )
    given["train.deterministic"] = "true" if deterministic else None
    given |= {"pseudo.data": pseudo and pseudo.resolve(), "pseudo.weight": pseudo_weight}
    overrides = overrides_of(
        settings,
        given,
        steps=steps,
        seed=seed,
        device=device,
    )
    curves = tracking(track, track_dir, track_project)
    run_training(recipe, overrides, data, out, resume, overwrite, as_json, curves, engine)


def distill(
    teacher: Annotated[
        Optional[list[str]],
        typer.Option(
            help="conditional-detr, dinov3-convnext or dinov3-vit (packaged nano models for nano students), "
            "a model of taco-kd list models, a run or transformers folder, a .safetensors, .pth, .pt or "
            ".onnx file, or a hub name. Repeat it for several teachers at once.",
            show_default="the recipe's",
        ),
    ] = None,
    data: DataOption = None,
    out: RunFolder = None,
    recipe: Annotated[
        Optional[str],
        typer.Option(
            help="A recipe (taco-kd list recipes) or a .toml file: paper, paper-code, matched (full size) "
            "or their nano twins. With a DINOv3 teacher the recipe of that teacher is meant.",
            show_default=DEFAULT,
        ),
    ] = None,
    student: Annotated[
        Optional[str],
        typer.Option(
            help="Student model (taco-kd list models), or a run folder, transformers folder or hub name.",
            show_default="the recipe's",
        ),
    ] = None,
    weights: Weights = None,
    backbone_from: BackboneFrom = None,
    weights_classes: WeightsClasses = None,
    strip_prefix: StripPrefix = None,
    add_prefix: AddPrefix = None,
    allow_partial: AllowPartial = False,
    image_size: ImageSize = None,
    teacher_model: Annotated[
        Optional[str],
        typer.Option(help="Model that the --teacher file holds, where the file does not say so itself."),
    ] = None,
    teacher_classes: Annotated[
        Optional[str],
        typer.Option(help="Label space of a teacher that does not name its classes; as --weights-classes."),
    ] = None,
    class_map: Annotated[
        Optional[str],
        typer.Option(
            help="For classes that teacher and student name differently: coco-to-taco, another shipped table "
            "(taco-kd list tables), or a CSV file with the columns from,to."
        ),
    ] = None,
    teacher_cache: Annotated[
        Optional[str],
        typer.Option(
            help="Folder in which the teacher's answers are kept, so that each is computed once, also by "
            "other runs with this teacher and these images: a path, auto (beside the data) or off.",
            show_default="the recipe's",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Train nothing (exit 5) if a teacher is not better than the student."),
    ] = False,
    no_gate: Annotated[
        bool, typer.Option("--no-gate", help="Do not compare teacher and student before the first step.")
    ] = False,
    steps: Steps = None,
    seed: Seed = None,
    device: Device = "auto",
    deterministic: Deterministic = False,
    settings: Settings = None,
    resume: Resume = None,
    track: Track = None,
    track_dir: TrackDir = None,
    track_project: TrackProject = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train a student with the ground truth and a frozen teacher, at no cost at inference.

    [bold]Examples[/bold]

    taco-kd distill --teacher conditional-detr

    taco-kd distill --teacher runs/teacher --data mine --out runs/distilled

    taco-kd distill --recipe nano-paper --set distill.pairing=hungarian

    taco-kd distill --teacher dinov3-vit

    taco-kd distill --teacher runs/teacher --teacher dinov3-convnext

    taco-kd distill --teacher runs/teacher --teacher-cache auto --strict
    """
    from taco_kd.config import load_recipe
    from taco_kd.errors import UsageError

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
    if strict and no_gate:
        raise UsageError("--strict and --no-gate contradict each other: leave one out")
    given["distill.class_map"] = class_map
    given["train.deterministic"] = "true" if deterministic else None
    name = recipe_for(recipe, teacher[0] if teacher else None)
    if resume is None:
        chosen = load_recipe(name)
        given |= teacher_settings(teacher or [], chosen, teacher_model, teacher_classes)
        further = len(teacher) - 1 if teacher and len(teacher) > 1 else len(chosen.also)
        given |= _for_all_teachers(further, teacher_cache, "strict" if strict else "off" if no_gate else None)
        given["pretrain.steps"] = steps if chosen.pretrain is not None else None
    overrides = overrides_of(settings, given, steps=steps, seed=seed, device=device)
    curves = tracking(track, track_dir, track_project)
    run_training(name, overrides, data, out, resume, overwrite, as_json, curves)


def _for_all_teachers(further: int, cache: str | None, gate: str | None) -> dict[str, Any]:
    """Settings of the lessons of all teachers that the flags stand for."""
    tables = ["distill", *(f"also.{place}.distill" for place in range(further))]
    quoted = None if cache is None else json.dumps(cache)  # a folder may be called 7, or true
    return {key: value for t in tables for key, value in ((f"{t}.cache", quoted), (f"{t}.gate", gate))}
