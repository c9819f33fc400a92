"""``evaluate(run)``: predictions and COCO metrics of a finished run, written into its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from taco_kd.config import Recipe, validate
from taco_kd.errors import DataError
from taco_kd.evaluate.coco_metrics import EVALUATOR, Metrics, evaluate_coco
from taco_kd.evaluate.predict import predict
from taco_kd.files import read_json, write_json
from taco_kd.models import zoo
from taco_kd.models.detector import Detector
from taco_kd.models.settings import initial_student
from taco_kd.models.weights import weights_hash
from taco_kd.progress import Tick
from taco_kd.runs import DataDir, RunDir, Split


def evaluate_model(
    model: Detector,
    data: DataDir,
    split: Split = "val",
    *,
    device: torch.device | str = "cpu",
    on_progress: Tick | None = None,
) -> tuple[Metrics, list[dict[str, Any]]]:
    """Metrics and COCO results of a model on one split."""
    rows = predict(model, data, split, device=device, on_progress=on_progress)
    return evaluate_coco(data.coco(split), rows), rows


def evaluate(
    run: RunDir,
    data: DataDir | None = None,
    split: Split = "val",
    *,
    device: torch.device | str = "cpu",
    on_progress: Tick | None = None,
) -> Metrics:
    """Evaluate the run's model, by default on the data it was trained with.

    Writes ``predictions/{split}.json`` and ``metrics/{split}.json``. A run that was already evaluated with
    the same weights on the same data by the same evaluator is not evaluated again.

    Raises:
        DataError: the run is not finished, or its data is gone or changed.
    """
    record = run.record()
    data = data or data_of(run)
    file = run.metrics_file(split)
    key = {"weights": record["final_hash"], "data": data.content_hash, "evaluator": EVALUATOR}
    if file.is_file() and (found := read_json(file)).get("key") == key:
        return Metrics.from_json(found["metrics"], where=str(file))
    model = zoo.load(run.path)
    metrics, rows = evaluate_model(model, data, split, device=device, on_progress=on_progress)
    write_json(run.predictions_file(split), rows, indent=None)
    write_json(file, {"key": key, "metrics": metrics.to_json(), "initial": None})
    return metrics


def evaluate_initial(run: RunDir, split: Split = "val", *, device: torch.device | str = "cpu") -> Metrics:
    """Metrics of the student as it was before the run, kept beside those of the run's result.

    Raises:
        DataError: the initial weights cannot be had again (they changed on disk since).
    """
    record, data = run.record(), data_of(run)
    evaluate(run, data, split, device=device)
    found = read_json(run.metrics_file(split))
    if found["initial"] is not None:
        return Metrics.from_json(found["initial"], where=str(run.metrics_file(split)))
    recipe = validate(Recipe, record["recipe"], where=str(run.record_file))
    model, _ = initial_student(recipe.student, data.class_names, seed=recipe.train.seed)
    if weights_hash(model.network) != record["init_hash"]:
        raise DataError(
            f"{run.path}: the weights it started from ({recipe.student.weights}) have changed since"
        )
    metrics, _ = evaluate_model(model, data, split, device=device)
    write_json(run.metrics_file(split), {**found, "initial": metrics.to_json()})
    return metrics


def data_of(run: RunDir) -> DataDir:
    """The dataset a run was trained with.

    Raises:
        DataError: it is gone, or is not the same any more.
    """
    said = run.record()["data"]
    data = DataDir.open(Path(said["path"]))
    if data.content_hash != said["content_hash"]:
        raise DataError(f"{data.path}: has changed since {run.path} was trained on it; prepare it again")
    return data
