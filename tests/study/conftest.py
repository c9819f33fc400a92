"""Small studies: two arms of nano models on the small dataset, a few steps each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from taco_kd.progress import Tick
from taco_kd.runs import DataDir
from taco_kd.study import stage
from taco_kd.study.config import load_study
from taco_kd.study.launchers import Launch
from taco_kd.study.outcome import Outcome
from taco_kd.study.work import Job, Result, do

TEXT = """
name = "small"
description = "Two arms."
reference = "baseline"
seeds = [0, 1]

[data]
path = "{data}"

[set.train]
steps = {steps}
batch_size = 2
warmup_steps = 1
checkpoint_seconds = {seconds}

[slurm]
cluster = "local"
gpus = 0
cpus = 1

[[arms]]
name = "baseline"
recipe = "nano-baseline"

[[arms]]
name = "paper"
recipe = "nano-paper"
"""


@pytest.fixture(scope="session")
def text(small_data: DataDir) -> Callable[..., str]:
    def make(*, steps: int = 2, seconds: float = 60, more: str = "") -> str:
        return TEXT.format(data=small_data.path, steps=steps, seconds=seconds) + more

    return make


@contextmanager
def silent(label: str) -> Iterator[Tick]:
    yield lambda done, total, note="": None


def inline(jobs: Sequence[Job], launch: Launch) -> Iterator[Result]:
    """A launcher that runs the cells one after the other in this process."""
    for job in jobs:
        if launch.stop.is_set():
            return
        yield do(job, partial(launch.on_step, job.id))


Runner = Callable[..., Outcome]


def runner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Runs the TOML of a study in ``folder/out``."""
    monkeypatch.setattr(stage, "launcher", lambda name: inline)

    def start(study: str, **options: Any) -> Outcome:
        file = folder / "study.toml"
        file.write_text(study)
        return stage.run_study(
            load_study(str(file)), study, folder / "out", resamples=100, task=silent, **options
        )

    return start


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runner:
    return runner(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def whole(text: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The finished small study, for looking at, and its outcome."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as monkeypatch:
        outcome = runner(folder, monkeypatch)(text())
    return folder / "out", outcome


@pytest.fixture
def done(whole: tuple[Path, Outcome], tmp_path: Path) -> Path:
    """The same finished study in ``tmp_path/out``, for going on with."""
    shutil.copytree(whole[0], tmp_path / "out", copy_function=shutil.copy2)
    return tmp_path / "out"


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Any]:
    def read(study: str) -> Any:
        file = tmp_path / "read.toml"
        file.write_text(study)
        return load_study(str(file))

    return read
