"""One cell's work, wherever a launcher runs it: train or go on, evaluate, and say how it ended.

Nothing here imports torch before the threads and the device of the process are set.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taco_kd.config import Recipe, validate
from taco_kd.errors import InterruptedRunError, TacoKDError
from taco_kd.progress import Tick
from taco_kd.runs import DataDir
from taco_kd.study.cells import Cell

LOCK_SECONDS = 120.0
"""How long a cell is waited for that another process still holds, for example one that is being stopped."""

Ending = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Job:
    """A cell as it is sent to another process: plain values only.

    Attributes:
        recipe: settings as JSON values.
        replace: whether a run with other settings is thrown away.
        folder: working directory, to which paths in the settings are relative.
        threads: of torch; None leaves them alone.
        devices: CUDA_VISIBLE_DEVICES of the process; None leaves it alone.
    """

    id: str
    recipe: dict[str, Any]
    data: str
    run: str
    lock: str
    folder: str
    replace: bool = False
    threads: int | None = None
    devices: str | None = None


@dataclass(frozen=True)
class Result:
    """How a cell ended; ``reason`` is the line of the error, empty for a finished one."""

    id: str
    ending: Ending
    reason: str = ""
    exit_code: int = 0
    seconds: float = 0.0


def make_job(cell: Cell, data: DataDir, locks: Path, *, replace: bool) -> Job:
    return Job(
        id=cell.id,
        recipe=cell.recipe.model_dump(mode="json"),
        data=str(data.path.resolve()),
        run=str(cell.run.path),
        lock=str(locks.resolve() / f"{cell.id}.lock"),
        folder=str(Path.cwd()),
        replace=replace,
    )


def do(job: Job, on_progress: Tick | None = None) -> Result:
    """Train and evaluate the cell. No exception comes out: a failure is a result like others."""
    began = time.monotonic()

    def ended(ending: Ending, error: BaseException | None = None) -> Result:
        reason, code = "", 0
        if error is not None:
            text = str(error).splitlines()[0] if str(error) else "no reason given"
            reason = text if isinstance(error, TacoKDError) else f"unexpected {type(error).__name__}: {text}"
            code = error.exit_code if isinstance(error, TacoKDError) else 1
        return Result(job.id, ending, reason, code, time.monotonic() - began)

    try:
        os.chdir(job.folder)
        _prepare_process(job)
        with _held(Path(job.lock)):
            _train_and_evaluate(job, on_progress)
    except (InterruptedRunError, KeyboardInterrupt) as error:
        return ended("stopped", error)
    except Exception as error:
        traceback.print_exc()  # into the log of the cell
        return ended("failed", error)
    return ended("finished")


def _prepare_process(job: Job) -> None:
    if job.devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = job.devices
    if job.threads is None:
        return
    os.environ["OMP_NUM_THREADS"] = str(job.threads)  # before torch is imported
    import torch

    torch.set_num_threads(job.threads)


def _train_and_evaluate(job: Job, on_progress: Tick | None) -> None:
    from taco_kd.environment import pick_device
    from taco_kd.evaluate.stage import evaluate
    from taco_kd.train.stage import train

    recipe = validate(Recipe, job.recipe, where=job.id)
    data = DataDir.open(Path(job.data))
    run = train(recipe, data, Path(job.run), overwrite=job.replace, on_progress=on_progress)
    evaluate(run, device=pick_device(recipe.train.device))


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Hold a file lock for the block, so that two processes never train the same cell.

    The system releases it when the process ends, however that happens. Where there are no such locks
    (Windows), nothing is held.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as stream:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TacoKDError(f"{lock}: another process is still training this cell") from None
                time.sleep(0.1)
        yield
