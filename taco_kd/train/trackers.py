"""Curves in TensorBoard, Weights & Biases or MLflow, through accelerate's trackers.

Where results are shown is no part of a recipe: it changes nothing that is trained. A resumed run goes on with
its curves; steps that were done after the last checkpoint, and are done again, are not there twice.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taco_kd.errors import DataError, MissingResourceError, chosen
from taco_kd.files import read_json, write_json
from taco_kd.progress import notice, warn
from taco_kd.train.observers import Begin
from taco_kd.train.tracked_values import hyperparameters, step_values

if TYPE_CHECKING:
    from taco_kd.train.evaluations import Evaluated
    from taco_kd.train.loop import StepRecord

NAMES = ("tensorboard", "wandb", "mlflow")

PROJECT = "taco-kd"
"""Project (W&B) or experiment (MLflow) that runs are put into by default."""

IDS = "trackers.json"
"""Which W&B and MLflow runs a run folder goes on with, beside the files of the trackers."""


def require(names: Sequence[str]) -> tuple[str, ...]:
    """The trackers of these names, each once.

    Raises:
        UsageError: there is none of that name.
        MissingResourceError: its library is not installed.
    """
    wanted = tuple(dict.fromkeys(chosen("tracker", name, NAMES) for name in names))
    for name in wanted:
        if importlib.util.find_spec(name) is None:
            raise MissingResourceError(f"--track {name}: {name} is not installed here: pip install {name}")
    return wanted


USERS_URI = os.environ.get("MLFLOW_TRACKING_URI")
"""The server of MLflow that the user names; MLflow overwrites the variable with what it is told."""


class Tracker:
    """An observer that writes to one tracker, from the first step of the run on.

    Args:
        name: of ``NAMES``; required before.
        folder: where its files go; None is ``tracking`` in the run folder.
        project: of W&B or MLflow.
    """

    def __init__(self, name: str, folder: Path | None, project: str) -> None:
        self._name, self._folder, self._project = name, folder, project
        self._tracker: Any = None
        self._offset = 0
        self._files = folder or Path()
        self._there = 0  # steps that are logged already and would stand there twice

    def begin(self, begin: Begin) -> None:
        """Open it, at the first stage of a run."""
        self._offset = begin.offset
        if self._tracker is not None:  # the second stage of a run goes on with the curves of the first
            return
        root = (
            begin.run.path.parent if begin.offset == 0 and begin.whole > begin.steps_total else begin.run.path
        )
        self._files = self._folder or root / "tracking"
        done = begin.offset + begin.step
        try:
            self._tracker = self._opened(root, done)
            self._tracker.start()
            self._keep_id(root)
            self._there = self._steps_there()
        except Exception as error:  # of whatever kind the library has: no network, no login, a full disk
            self._tracker = None
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            offline = "; WANDB_MODE=offline keeps its files here" if self._name == "wandb" else ""
            raise MissingResourceError(
                f"--track {self._name}: cannot be started ({reason}){offline}"
            ) from error
        if done == 0 or self._name == "wandb":  # W&B keeps one table of settings; the others would add to it
            self._tracker.store_init_configuration(hyperparameters(begin.record))
        notice(f"Tracking: {self._name} in {self._where()}")

    def on_step(self, done: StepRecord) -> None:
        self._log(step_values(asdict(done)), done.step)

    def on_evaluated(self, found: Evaluated) -> None:
        self._log({"eval/ap": found.ap, "eval/ap50": found.ap50}, found.step)

    def close(self) -> None:
        if self._tracker is not None:
            self._tracker.finish()
            self._tracker = None

    def _log(self, values: Mapping[str, float], step: int) -> None:
        if self._offset + step <= self._there:
            return
        self._tracker.log(dict(values), step=self._offset + step)

    def _opened(self, root: Path, done: int) -> Any:
        from accelerate import PartialState, tracking

        PartialState()  # its loggers ask for it; where a run has several processes it is there already
        name = root.resolve().name
        self._files.mkdir(parents=True, exist_ok=True)
        if self._name == "tensorboard":
            # What stands there of later steps is hidden: those are done again.
            return tracking.TensorBoardTracker(name, self._files, purge_step=done + 1)
        known = self._known_id(root) if done else None
        if self._name == "wandb":
            run_id = known or uuid.uuid4().hex[:16]
            return tracking.WandBTracker(
                self._project, name=name, dir=str(self._files), id=run_id, resume="allow"
            )
        import mlflow

        if USERS_URI is None:
            mlflow.set_tracking_uri(f"sqlite:///{(self._files / 'mlflow.db').resolve()}")
        artifacts = (self._files / "mlflow").resolve().as_uri()
        return tracking.MLflowTracker(self._project, logging_dir=artifacts, run_id=known, run_name=name)

    def _known_id(self, root: Path) -> str | None:
        file = root / "tracking" / IDS
        with contextlib.suppress(DataError):
            found = read_json(file).get(self._name)
            return None if found is None else str(found)
        return None

    def _keep_id(self, root: Path) -> None:
        """So that a resumed run finds its curves again; TensorBoard finds them by their folder."""
        if self._name == "tensorboard":
            return
        run = self._tracker.tracker
        own = run.id if self._name == "wandb" else run.info.run_id
        file = root / "tracking" / IDS
        known: dict[str, str] = {}
        with contextlib.suppress(DataError):
            known = read_json(file)
        write_json(file, {**known, self._name: str(own)})

    def _steps_there(self) -> int:
        """Of an MLflow run that goes on; TensorBoard and W&B see to it themselves."""
        if self._name != "mlflow":
            return 0
        import mlflow

        history = mlflow.MlflowClient().get_metric_history(self._tracker.tracker.info.run_id, "train/lr")
        return max((metric.step for metric in history), default=0)

    def _where(self) -> str:
        return USERS_URI if USERS_URI and self._name == "mlflow" else str(self._files)


@contextlib.contextmanager
def trackers(names: Sequence[str], folder: Path | None, project: str | None) -> Iterator[list[Tracker]]:
    """The trackers of these names, closed at the end of the block whatever happens in it."""
    opened = [Tracker(name, folder, project or PROJECT) for name in require(names)]
    try:
        yield opened
    finally:
        for tracker in opened:
            try:
                tracker.close()
            except Exception as error:  # must not hide how the run ended
                warn(f"{tracker._name}: could not be closed ({error})")
