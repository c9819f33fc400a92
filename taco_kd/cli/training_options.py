"""Options of ``taco-kd train`` and ``taco-kd distill`` that say where the run goes and who watches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Optional

import typer

Track = Annotated[
    Optional[list[str]],
    typer.Option(help="Also write the curves to tensorboard, wandb or mlflow. Repeatable."),
]
TrackDir = Annotated[
    Optional[Path],
    typer.Option(help="Folder for the files of --track.", show_default="tracking in the run folder"),
]
TrackProject = Annotated[
    Optional[str],
    typer.Option(help="Project of wandb, experiment of mlflow.", show_default="taco-kd"),
]
Engine = Annotated[
    Optional[str],
    typer.Option(
        help="taco-kd, the loop that all models share, or ultralytics, the own trainer of YOLO and RT-DETR "
        "with an HGNetv2 backbone. Either way the result is scored by our evaluator.",
        show_default="taco-kd",
    ),
]


@dataclass(frozen=True)
class Tracking:
    """Where curves go besides the log."""

    names: tuple[str, ...] = ()
    folder: Path | None = None
    project: str | None = None


def tracking(names: list[str] | None, folder: Path | None, project: str | None) -> Tracking:
    """What the three options say.

    Raises:
        UsageError: a tracker that there is none of, or a folder or project without any.
        MissingResourceError: the library of a tracker is not installed.
    """
    from taco_kd.errors import UsageError
    from taco_kd.train.trackers import require

    if not names and (folder is not None or project is not None):
        raise UsageError("--track-dir and --track-project go with --track tensorboard, wandb or mlflow")
    return Tracking(require(names or []), folder, project)
