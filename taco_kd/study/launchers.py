"""The ways to run cells: in processes of this machine, as Slurm jobs, as trials of Ray Tune."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from taco_kd.errors import UsageError, one_of
from taco_kd.study.config import SlurmConfig
from taco_kd.study.work import Job, Result

LauncherName = Literal["local", "slurm", "ray"]
LAUNCHERS: tuple[LauncherName, ...] = ("local", "slurm", "ray")


class OnStep(Protocol):
    """Called with the steps that a cell has done, of how many, and a note."""

    def __call__(self, cell: str, done: int, total: int, note: str = "") -> None: ...


@dataclass(frozen=True)
class Launch:
    """What a launcher is given besides the cells.

    Attributes:
        parallel: how many cells at a time; None for what suits the launcher.
        stop: once set, running cells are told to write a checkpoint and end, and no other is begun.
        logs: folder for what the processes print.
        slurm: what a Slurm job asks for.
    """

    parallel: int | None
    stop: threading.Event
    logs: Path
    slurm: SlurmConfig
    on_step: OnStep


Launcher = Callable[[Sequence[Job], Launch], Iterator[Result]]
"""Runs the jobs, which do not need each other, and yields how each ended. Those not begun are left out."""


def launcher(name: str) -> Launcher:
    """The launcher of that name.

    Raises:
        UsageError: there is none.
    """
    if name == "local":
        from taco_kd.study.local import run_local

        return run_local
    if name == "slurm":
        from taco_kd.study.slurm import run_slurm

        return run_slurm
    if name == "ray":
        from taco_kd.study.ray_tune import run_ray

        return run_ray
    raise UsageError(one_of("launcher", name, LAUNCHERS))
