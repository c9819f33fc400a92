"""``taco-kd evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from taco_kd.cli.common import (
    OUT,
    AreasOption,
    AsJson,
    Device,
    Overwrite,
    metric_rows,
    points,
    print_json,
    print_table,
    say,
)
from taco_kd.cli.model_options import TrustPickle

if TYPE_CHECKING:
    from taco_kd.evaluate.evaluation import Evaluation


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Run folders; .safetensors files of taco-kd; Ultralytics .onnx or .pt; transformers "
            "folders or hub names (OWNER/REPO); COCO results (.json).",
            metavar="MODEL",
        ),
    ],
    data: Annotated[
        Optional[Path],
        typer.Option(help="A prepared dataset.", show_default="the one each run was trained on"),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the dataset: val or train.")] = "val",
    annotations: Annotated[
        Optional[Path], typer.Option(help="COCO ground truth of results files, instead of --data.")
    ] = None,
    images: Annotated[
        Optional[Path], typer.Option(help="Folder of the images of --annotations, to show the worst of them.")
    ] = None,
    class_map: Annotated[
        Optional[Path],
        typer.Option(help="CSV file with lines DETECTOR'S CLASS,DATASET'S CLASS, for names that differ."),
    ] = None,
    areas: AreasOption = "resized",
    confidence: Annotated[
        Optional[float],
        typer.Option(help="Threshold of the confusion matrix and the worst images.", show_default="best F1"),
    ] = None,
    out: Annotated[
        Optional[Path],
        typer.Option(
            "--out",
            "--report",
            help="Folder for index.html, analysis.json and, of models that are no runs, the detections.",
            show_default=f"{OUT}/evaluate/NAME for these, none for runs and results files",
        ),
    ] = None,
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Leave out repeated rows of results files.")
    ] = False,
    trust_pickle: TrustPickle = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """COCO metrics, curves, calibration and errors of any detector, with one evaluator for all.

    [bold]Examples[/bold]

    taco-kd evaluate taco-kd-out/runs/nano-baseline taco-kd-out/runs/nano-paper

    taco-kd evaluate yolov8n.onnx --data taco640 --class-map coco_to_taco.csv

    taco-kd evaluate predictions.json --annotations gt.json --images photos --report page
    """
    from taco_kd.environment import pick_device
    from taco_kd.errors import chosen
    from taco_kd.evaluate.chosen import words
    from taco_kd.evaluate.classes import read_class_map
    from taco_kd.evaluate.evaluation import Options, evaluate_source
    from taco_kd.evaluate.predictors import is_results, is_run
    from taco_kd.evaluate.truth import AREAS
    from taco_kd.progress import notice, task, warn
    from taco_kd.report.evaluation import write_evaluation
    from taco_kd.runs import DataDir, split_named

    options = Options(
        data=DataDir.open(data) if data else None,
        split=split_named(split),
        annotations=annotations,
        images=images,
        class_map=read_class_map(class_map) if class_map else {},
        areas=chosen("areas", areas, AREAS),
        confidence=confidence,
        drop_duplicates=drop_duplicates,
        trust_pickle=trust_pickle,
        overwrite=overwrite,
        device=pick_device(device),
    )
    found: dict[str, Evaluation] = {}
    pages = []
    for source in models:
        folder = _folder(source, models, out)
        with task(f"evaluate {Path(source).name}") as tick:
            evaluated = evaluate_source(source, folder, options, on_progress=tick)
        found[source] = evaluated
        if evaluated.cached:
            notice(f"{source}: detections taken from {folder}")
        if evaluated.classes is not None:
            notice(evaluated.classes.line(evaluated.name))
        if out is not None or not (is_run(source) or is_results(source)):
            pages.append(write_evaluation(evaluated, folder))
    if as_json:
        print_json({source: evaluated.to_json() for source, evaluated in found.items()})
        return
    columns, rows = metric_rows({source: e.analysis.metrics.to_json() for source, e in found.items()})
    print_table(columns, rows, title="AP x 100")
    for evaluated in found.values():
        if evaluated.chosen_on is not None:
            warn(words(evaluated.name, evaluated.chosen_on))
        for line in _lines(evaluated):
            say(line)
    for page in pages:
        say(f"Page: {page}")


def _folder(source: str, models: list[str], out: Path | None) -> Path:
    """Where the results of one model go; several models get folders in ``out``, by name or numbered."""
    names = [Path(model).stem if Path(model).is_file() else Path(model).name for model in models]
    at = models.index(source)
    name = names[at] if names.count(names[at]) == 1 else f"{at + 1}-{names[at]}"
    if out is None:
        return Path(OUT) / "evaluate" / (names[at] or "model")
    return out if len(models) == 1 else out / name


def _lines(evaluated: Evaluation) -> list[str]:
    """What the table does not say: areas, the classes that count, the best threshold, what costs most."""
    analysis = evaluated.analysis
    metrics = analysis.metrics
    lines = [
        f"{evaluated.name}: {metrics.images:,} images, {metrics.boxes:,} boxes; S, M, L by area in "
        f"{metrics.area_space}; AP of classes with at least 10 boxes {points(metrics.ap_frequent)}"
    ]
    if evaluated.ap_of_known is not None:
        lines.append(f"  AP of the classes that it knows: {points(evaluated.ap_of_known)}")
    if analysis.confidence_curves and (best := analysis.confidence_curves.best):
        ece = analysis.calibration.ece if analysis.calibration else None
        lines.append(
            f"  best F1 {best.f1:.3f} at confidence {best.confidence:.3f} (precision {best.precision:.3f}, "
            f"recall {best.recall:.3f}); calibration error (ECE) {'–' if ece is None else f'{ece:.3f}'}"
        )
    costs = [error for error in analysis.errors if error.ap50_cost is not None]
    if costs:
        ordered = sorted(costs, key=lambda error: -(error.ap50_cost or 0))
        lines.append(
            "  errors by what they cost in AP50: "
            + ", ".join(f"{error.kind} {points(error.ap50_cost)}" for error in ordered)
        )
    return lines
