"""Read what a report shows from run folders. Nothing is computed from models here: records in, values out.

A record that is not there is no error: it becomes a line of :attr:`Arm.missing`, which the page prints.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taco_kd.errors import DataError, UsageError
from taco_kd.files import read_json
from taco_kd.runs import DataDir, RunDir

Json = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One run of the report, as its records tell it.

    Attributes:
        name: the folder's name, or its path where two folders share one.
        position: place among the runs of the page, which is its colour too.
        record: ``run.json``.
        metrics: validation metrics (fractions in 0..1), or None.
        initial: the same for the student before its first step, or None.
        log: one dictionary a step.
        predictions: COCO results of the validation split by image id, or None when there is no file.
        bench: latency records.
        missing: one line for each record that is not there.
    """

    name: str
    position: int
    record: Json
    metrics: Json | None = None
    initial: Json | None = None
    log: list[Json] = field(default_factory=list)
    predictions: dict[int, list[Json]] | None = None
    bench: list[Json] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def recipe(self) -> Json:
        return self.record.get("recipe") or {}

    @property
    def distilled(self) -> bool:
        return self.record.get("kind") == "distill"

    @property
    def teacher(self) -> str | None:
        return (self.recipe.get("teacher") or {}).get("model") if self.distilled else None

    @property
    def content_hash(self) -> str | None:
        return (self.record.get("data") or {}).get("content_hash")


def collect(runs: Sequence[RunDir]) -> list[Arm]:
    """The runs in their order, with all the records that are there.

    Raises:
        UsageError: no run at all.
        DataError: a record that is there but cannot be read.
    """
    if not runs:
        raise UsageError("no run to report on: name at least one run folder")
    return [
        _arm(run, name, position) for position, (run, name) in enumerate(zip(runs, _names(runs), strict=True))
    ]


def _names(runs: Sequence[RunDir]) -> list[str]:
    """Names as :func:`taco_kd.evaluate.comparison.compare_runs` gives them, so that they can be matched."""
    unique = len({run.name for run in runs}) == len(runs)
    return [run.name or run.path.resolve().name if unique else str(run.path) for run in runs]


def _arm(run: RunDir, name: str, position: int) -> Arm:
    missing: list[str] = []

    def optional(file: Path, what: str, command: str) -> Any:
        if file.is_file():
            return read_json(file)
        missing.append(f"{name}: no {what} ({file.name} is not there); make it with {command}")
        return None

    where = run.path
    metrics = optional(run.metrics_file("val"), "validation metrics", f"taco-kd evaluate {where}") or {}
    predictions = optional(run.predictions_file("val"), "predictions", f"taco-kd evaluate {where}")
    bench = optional(run.bench_file, "latency", f"taco-kd bench {where}")
    log = list(run.log())
    if not log:
        missing.append(f"{name}: no training log ({run.log_file.name} is empty or not there)")
    return Arm(
        name=name,
        position=position,
        record=run.record(),
        metrics=metrics.get("metrics"),
        initial=metrics.get("initial"),
        log=log,
        predictions=None if predictions is None else _by_image(predictions),
        bench=list((bench or {}).get("records") or []),
        missing=missing,
    )


def _by_image(results: list[Json]) -> dict[int, list[Json]]:
    found: dict[int, list[Json]] = defaultdict(list)
    for result in results:
        found[int(result["image_id"])].append(result)
    return dict(found)


def open_data(arms: Sequence[Arm]) -> tuple[DataDir | None, str]:
    """The dataset all ``arms`` were evaluated on, or None and the reason why no picture can be shown."""
    hashes = {arm.content_hash for arm in arms}
    if len(hashes) > 1:
        return None, "the runs used different datasets, so there are no common validation images"
    path = (arms[0].record.get("data") or {}).get("path")
    if not path:
        return None, "the record of the run names no dataset folder"
    try:
        data = DataDir.open(Path(path))
        if hashes != {None} and data.content_hash not in hashes:
            return None, f"the dataset in {path} is not the one the runs used (its content hash differs)"
    except DataError as error:
        return None, str(error)
    return data, ""
