"""What ``taco-kd train`` and ``taco-kd distill`` do once their options are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from taco_kd.cli.common import OUT, data_or_synthetic, metric_rows, print_json, print_table, say

if TYPE_CHECKING:
    from taco_kd.cli.training_options import Tracking
    from taco_kd.config import Recipe


def overrides_of(
    settings: list[str] | None,
    given: dict[str, Any],
    *,
    steps: int | None,
    seed: int | None,
    device: str,
) -> list[str]:
    """``key=value`` lines of the flags that were given, then those of ``--set``, which has the last word."""
    flags: dict[str, Any] = {
        **given,
        "train.steps": steps,
        "train.seed": seed,
        "train.device": None if device == "auto" else device,
    }
    return [f"{key}={value}" for key, value in flags.items() if value is not None] + (settings or [])


def _resumed(folder: Path) -> tuple[Recipe, Path, str]:
    """Recipe, data and engine of the run in a folder."""
    from taco_kd.config import Recipe, validate
    from taco_kd.errors import DataError
    from taco_kd.runs import RunDir

    run = RunDir(folder)
    if not run.record_file.is_file():
        raise DataError(f"{folder}: not a run folder (no run.json), so there is nothing to resume")
    record = run.record()
    recipe = validate(Recipe, record["recipe"], where=str(run.record_file))
    return recipe, Path(record["data"]["path"]), record.get("engine", "taco-kd")


def run_training(
    recipe_name: str,
    overrides: list[str],
    data_path: Path | None,
    out: Path | None,
    resume: Path | None,
    overwrite: bool,
    as_json: bool,
    curves: Tracking,
    engine: str | None = None,
) -> None:
    """Train, evaluate before and after, and print both."""
    from taco_kd.config import load_recipe
    from taco_kd.environment import pick_device
    from taco_kd.errors import UsageError, chosen
    from taco_kd.evaluate.chosen import chosen_on, words
    from taco_kd.evaluate.stage import evaluate, evaluate_initial
    from taco_kd.launch import speaks
    from taco_kd.models.settings import locate
    from taco_kd.progress import task, warn
    from taco_kd.runs import DataDir
    from taco_kd.train.live import live_view
    from taco_kd.train.stage import train as stage
    from taco_kd.train.stopping import StopRequests
    from taco_kd.train.trackers import trackers
    from taco_kd.train.vendor.arguments import NAME, OWN
    from taco_kd.train.vendor.stage import train_with_ultralytics

    engine = None if engine is None else chosen("engine", engine, (OWN, NAME))
    if resume is not None:
        recipe, data_path, begun_by = _resumed(resume)
        if engine not in (None, begun_by):
            raise UsageError(f"{resume}: was begun with --engine {begun_by}; leave --engine out")
        engine = begun_by
        data, out = DataDir.open(data_path), resume
    else:
        recipe = load_recipe(recipe_name, overrides)
        locate(recipe.student, [lesson.teacher for lesson in recipe.lessons()])
        data = data_or_synthetic(data_path)
        out = out or Path(OUT) / "runs" / recipe.name
    with (
        trackers(curves.names, curves.folder, curves.project) as tracked,
        live_view(recipe.name) as view,
    ):
        train = train_with_ultralytics if engine == NAME else stage
        run = train(
            recipe,
            data,
            out,
            overwrite=overwrite,
            resume=resume is not None,
            on_progress=view,
            observers=[view, *tracked],
        )
    if not speaks():  # of several processes the first one evaluates
        return
    device = pick_device(recipe.train.device)
    with (
        StopRequests(f"{run.path} is trained, and the same command evaluates it"),
        task("evaluate") as tick,
    ):
        after = evaluate(run, device=device, on_progress=tick)
        before = evaluate_initial(run, device=device)
    if as_json:
        print_json({"run": str(run.path), "before": before.to_json(), "after": after.to_json()})
        return
    columns, rows = metric_rows({"before": before.to_json(), "after": after.to_json()})
    if chosen_on(run.record(), "val"):
        warn(words(run.name, "val"))
    print_table(columns, rows, title=f"{recipe.name}: {after.images} validation images, AP x 100")
    say(f"Run: {run.path}")
