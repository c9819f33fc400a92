"""Benchmark finished runs on images of their own validation split, and keep the records beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from taco_kd.bench.records import SCOPES, BenchRecord
from taco_kd.bench.stage import bench
from taco_kd.data.dataset import DetectionDataset
from taco_kd.errors import UsageError
from taco_kd.evaluate.stage import data_of
from taco_kd.files import write_json
from taco_kd.models import zoo
from taco_kd.models.detector import Detector
from taco_kd.progress import Tick
from taco_kd.runs import DataDir, RunDir

IMAGES = 8
"""validation images fed in rotation"""


def bench_runs(
    runs: Sequence[RunDir],
    *,
    device: str = "auto",
    gpu: str | None = None,
    min_seconds: float | None = None,
    min_iterations: int | None = None,
    scopes: Sequence[str] = SCOPES,
    on_progress: Tick | None = None,
) -> list[BenchRecord]:
    """Measure the runs' models in turns and write ``bench.json`` into each run folder.

    Raises:
        UsageError: two runs have the same folder name, by which their rows are told apart.
    """
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise UsageError(
            f"two runs are both called {next(n for n in names if names.count(n) > 1)!r}; rename one"
        )
    models: dict[str, tuple[Detector, Path | None]] = {
        run.name: (zoo.load(run.path), run.model_file) for run in runs
    }
    side = min(model.image_size for model, _ in models.values())
    records = bench(
        models,
        device=device,
        gpu=gpu,
        images=some_images(data_of(runs[0]), side),
        min_seconds=min_seconds,
        min_iterations=min_iterations,
        scopes=scopes,
        on_progress=on_progress,
    )
    for run in runs:
        own = [record.to_json() for record in records if record.model == run.name]
        write_json(run.bench_file, {"records": own})
    return records


def some_images(data: DataDir, side: int) -> Tensor:
    """uint8 [N, 3, side, side]: the first images of the validation split."""
    dataset = DetectionDataset(data, "val", side)
    return torch.stack([dataset.image(i) for i in range(min(IMAGES, len(dataset)))])
