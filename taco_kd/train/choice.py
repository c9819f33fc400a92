"""Between a run and its chooser: what is put aside, what is asked for, and when it is asked."""

from __future__ import annotations

from typing import Any

from taco_kd.config import TrainConfig
from taco_kd.data.batches import steps_per_epoch
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.part import put_aside
from taco_kd.progress import notice, warn
from taco_kd.runs import DataDir, RunDir
from taco_kd.train.choosing import Chooser, Decide, alone, chooses
from taco_kd.train.look import Look
from taco_kd.train.session import Session
from taco_kd.train.state import TrainState


def chooser_of(
    run: RunDir,
    config: TrainConfig,
    dataset: DetectionDataset,
    *,
    decide: Decide[Any] = alone,
) -> Chooser:
    """The chooser that the settings ask for, of a run that is trained on ``dataset``.

    Raises:
        DataError: there is no box to evaluate on.
    """
    warn_of_val(config)
    data = DataDir(dataset.data.path)  # the whole of which the run may be trained on a part
    interval = config.evaluation_interval(steps_per_epoch(config, dataset.epoch_images))
    look = None
    if interval is not None and config.choose_on == "val":
        look = Look(data, "val")
    elif interval is not None:
        look = Look(put_aside(data, config.hold_out, config.seed)[1], "train")
    return Chooser(run, config, look, interval, decide=decide)


def trained_on(data: DataDir, config: TrainConfig) -> tuple[DataDir, DataDir | None]:
    """The dataset whose train split the run is trained on, and one of the training images put aside."""
    if config.hold_out == 0:
        return data, None
    stay, aside = put_aside(data, config.hold_out, config.seed)
    images, kept = len(aside.image_ids), len(stay.image_ids)
    notice(f"Put aside: {images:,} of {images + kept:,} training images, to evaluate on during the run.")
    return stay, aside


def evaluate_if_due(chooser: Chooser, state: TrainState, steps_total: int, session: Session) -> bool:
    """After a step, in all processes: evaluate where that is due.

    Returns:
        False where a request to stop broke it off.
    """
    if not chooser.due(state.step, steps_total):
        return True
    found = chooser.evaluate(
        state.result(),
        state.step,
        lambda done, total, _note="": session.tick(state.step, steps_total, f"evaluating {done}/{total}"),
        lambda: session.stop.requested,
    )
    if found is not None and session.first:
        session.observers.on_evaluated(found)
    return found is not None


def warn_of_val(config: TrainConfig) -> None:
    """Say what it means to choose on the reported split, where that is asked for."""
    if chooses(config) and config.choose_on == "val":
        warn(
            "the weights are chosen on val, the images that results are reported on, so that AP there will "
            "be too high; train.hold_out=0.1 chooses on training images instead"
        )
