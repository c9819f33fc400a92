"""``evaluate_source(...)``: whatever the user names, by one evaluator; results and where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from taco_kd.errors import DataError, UsageError
from taco_kd.evaluate.analysis import Analysis, analyse
from taco_kd.evaluate.chosen import chosen_on
from taco_kd.evaluate.classes import ClassMatch
from taco_kd.evaluate.foreign import evaluate_predictor
from taco_kd.evaluate.predictors import is_results, is_run, open_predictor
from taco_kd.evaluate.results_file import read_ground_truth, read_results
from taco_kd.evaluate.stage import data_of, evaluate
from taco_kd.evaluate.truth import Areas
from taco_kd.files import read_json
from taco_kd.progress import Tick
from taco_kd.runs import DataDir, RunDir, Split


@dataclass(frozen=True)
class Options:
    """How to evaluate.

    Attributes:
        data: a prepared dataset; needed for models, for runs that which they were trained on by default.
        annotations: a COCO ground truth for results files; goes before ``data``.
        images: folder of the images of ``annotations``, for pictures.
        class_map: a detector's class names to the dataset's.
        confidence: threshold of what is shown at one threshold; that of the best F1 by default.
        drop_duplicates: leave repeated rows of results files out instead of refusing them.
        trust_pickle: load ``.pt`` files.
        overwrite: replace results of something else in the folder of a model.
    """

    data: DataDir | None = None
    split: Split = "val"
    annotations: Path | None = None
    images: Path | None = None
    class_map: Mapping[str, str] = field(default_factory=dict)
    areas: Areas = "resized"
    confidence: float | None = None
    drop_duplicates: bool = False
    trust_pickle: bool = False
    overwrite: bool = False
    device: torch.device | str = "cpu"


@dataclass(frozen=True)
class Evaluation:
    """One model evaluated.

    Attributes:
        source: what the user named.
        name: what to call it.
        images: folder of the images, None if not known.
        data: what it was evaluated on, for people.
        classes: how the classes of a detector that is not ours were read.
        cached: the detections were there already.
        chosen_on: the split, where the run was chosen on the very images that it is evaluated on.
    """

    source: str
    name: str
    analysis: Analysis
    images: Path | None
    data: str
    classes: ClassMatch | None = None
    cached: bool = False
    chosen_on: Split | None = None

    @property
    def ap_of_known(self) -> float | None:
        """Mean AP over the classes with boxes that the detector knows; None if it knows them all."""
        if self.classes is None or not self.classes.unknown:
            return None
        known = set(self.classes.known)
        values = [c.ap for c in self.analysis.metrics.per_class if c.name in known and c.ap is not None]
        return sum(values) / len(values) if values else None

    def to_json(self) -> dict[str, Any]:
        """The metrics, and below ``analysis`` everything else."""
        analysis = self.analysis.to_json()
        metrics: dict[str, Any] = analysis.pop("metrics")
        classes = None
        if self.classes is not None:
            known, unknown = list(self.classes.known), list(self.classes.unknown)
            classes = {"known": known, "unknown": unknown, "ap_of_known": self.ap_of_known}
        about = {"name": self.name, "data": self.data, "classes": classes, "chosen_on": self.chosen_on}
        return {**metrics, **about, "analysis": analysis}


def evaluate_source(
    source: str, out: Path, options: Options, *, on_progress: Tick | None = None
) -> Evaluation:
    """Evaluate a run folder, a model of any kind, or a file of COCO results.

    Args:
        source: see :func:`taco_kd.evaluate.predictors.open_predictor`; or a run folder, or ``.json``.
        out: folder for the detections of a model that is no run; nothing is written for results files.

    Raises:
        UsageError: a model without a dataset, or options that do not go together.
        DataError: input that cannot be evaluated.
        MissingResourceError: a model that is not on this machine.
    """
    if is_results(source):
        return _results(source, options)
    if options.annotations is not None:
        raise UsageError(
            f"{source}: --annotations goes with results files (.json); a model is run over a prepared "
            "dataset: --data DIR"
        )
    if is_run(source):
        found = _run(RunDir.open(Path(source)), options, on_progress)
        if found is not None:
            return found
    return _model(source, out, options, on_progress)


def _results(source: str, options: Options) -> Evaluation:
    if options.annotations is not None:
        truth, images = read_ground_truth(options.annotations), options.images
        data = str(options.annotations)
    elif options.data is not None:
        truth, images = options.data.coco(options.split), options.data.images_dir(options.split)
        data = f"{options.data.path} ({options.split})"
    else:
        raise UsageError(
            f"{source}: a results file needs the ground truth: --annotations gt.json, or --data DIR"
        )
    rows = read_results(Path(source), truth, drop_duplicates=options.drop_duplicates)
    analysis = analyse(truth, rows, where=source, areas=options.areas, confidence=options.confidence)
    return Evaluation(source, Path(source).stem, analysis, images, data)


def _run(run: RunDir, options: Options, on_progress: Tick | None) -> Evaluation | None:
    """None for a run on other data than its own: its folder keeps the results of its own data alone."""
    data = options.data or data_of(run)
    if data.content_hash != (run.record().get("data") or {}).get("content_hash"):
        return None
    evaluate(run, data, options.split, device=options.device, on_progress=on_progress)
    rows = read_json(run.predictions_file(options.split))
    if not isinstance(rows, list):
        raise DataError(f"{run.predictions_file(options.split)}: not a COCO results list; delete it")
    evaluated = _analysed(str(run.path), rows, data, options)
    chosen = options.split if chosen_on(run.record(), options.split) else None
    return replace(evaluated, name=run.name or run.path.resolve().name, chosen_on=chosen)


def _model(source: str, out: Path, options: Options, on_progress: Tick | None) -> Evaluation:
    # First, so that a name that is nothing is told before a dataset is asked for.
    path = str(RunDir(Path(source)).model_file) if is_run(source) else source
    if options.data is None:
        open_predictor(path, device=options.device, trust_pickle=options.trust_pickle)
        raise UsageError(
            f"{source}: needs a prepared dataset to run on: --data DIR (make one: taco-kd prepare)"
        )
    found = evaluate_predictor(
        path,
        lambda: open_predictor(path, device=options.device, trust_pickle=options.trust_pickle),
        options.data,
        options.split,
        out,
        class_map=options.class_map,
        overwrite=options.overwrite,
        on_progress=on_progress,
    )
    evaluated = _analysed(source, found.rows, options.data, options)
    name = Path(source).name if is_run(source) else found.name
    return replace(evaluated, name=name, classes=found.classes, cached=found.cached)


def _analysed(source: str, rows: list[dict[str, Any]], data: DataDir, options: Options) -> Evaluation:
    analysis = analyse(
        data.coco(options.split), rows, where=source, areas=options.areas, confidence=options.confidence
    )
    place = f"{data.path} ({options.split})"
    return Evaluation(source, source, analysis, data.images_dir(options.split), place)
