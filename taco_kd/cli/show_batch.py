"""``taco-kd show-batch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taco_kd.cli.common import OUT, AsJson, DataOption, print_json, say
from taco_kd.cli.training import RecipeName, Seed, Settings


def show_batch(
    data: DataOption = None,
    recipe: RecipeName = "nano-baseline",
    step: Annotated[int, typer.Option(help="First step to show, from 1.")] = 1,
    images: Annotated[int, typer.Option(min=1, max=100, help="How many images.")] = 12,
    out: Annotated[Path, typer.Option(help="The picture, .jpg or .png.")] = Path(OUT) / "batch.jpg",
    seed: Seed = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Draw training images as the model is given them: augmented, in the run's order, with their boxes.

    [bold]Examples[/bold]

    taco-kd show-batch

    taco-kd show-batch --data mine --set train.augment.mosaic=0.5 --set train.augment.photometric=0.5

    taco-kd show-batch --data mine --recipe my.toml --step 900 --images 32 --out late.png
    """
    from taco_kd.cli.common import data_or_synthetic
    from taco_kd.cli.training_run import overrides_of
    from taco_kd.config import load_recipe
    from taco_kd.errors import UsageError
    from taco_kd.train.show import show_batches

    if out.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise UsageError(f"--out {out}: give the picture a name that ends in .jpg or .png")
    wanted = load_recipe(recipe, overrides_of(settings, {}, steps=None, seed=seed, device="auto"))
    shown = show_batches(wanted, data_or_synthetic(data), out, step=step, images=images)
    if as_json:
        print_json({"picture": str(out), "images": shown})
    else:
        say(f"Picture: {out} ({shown} images from step {step} on)")
