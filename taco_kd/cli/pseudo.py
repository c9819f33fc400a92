"""``taco-kd pseudo-label``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from taco_kd.cli.common import OUT, AsJson, Device, Overwrite, print_json, print_table, say
from taco_kd.cli.model_options import DetectorClasses, DetectorModel, TrustPickle

if TYPE_CHECKING:
    from taco_kd.runs import DataDir


def pseudo_label(
    model: Annotated[
        str,
        typer.Argument(
            help="A run folder; a .onnx, .pt or .safetensors file; a transformers folder or hub name; a "
            "model of taco-kd list models.",
            metavar="MODEL",
        ),
    ],
    images: Annotated[
        Optional[Path],
        typer.Option(help="Folder of unlabelled images, of any depth; folder names do not count."),
    ] = None,
    data: Annotated[
        Optional[Path], typer.Option(help="Or a prepared dataset, whose labels are not looked at.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of --data: train or val.")] = "train",
    validation: Annotated[
        Optional[Path],
        typer.Option(
            help="A prepared dataset: its val split chooses the thresholds, and is never labelled.",
            show_default="the one the run was trained on",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the pseudo-labelled dataset.")] = Path(OUT) / "pseudo",
    target_precision: Annotated[
        float, typer.Option(help="Share of the labels that shall be right, on the validation data.")
    ] = 0.8,
    min_evidence: Annotated[
        int,
        typer.Option(help="Detections needed for a threshold of a class's own; others get the pooled one."),
    ] = 10,
    nms_iou: Annotated[
        float,
        typer.Option(help="Of boxes of any class that overlap by more, only the best stays; 1: all stay."),
    ] = 0.7,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty", help="Also take images in which nothing is sure enough.")
    ] = False,
    limit: Annotated[
        Optional[int], typer.Option(min=1, help="At most this many images, evenly spread over their names.")
    ] = None,
    class_map: Annotated[
        Optional[Path], typer.Option(help="CSV file with lines DETECTOR'S CLASS,DATASET'S CLASS.")
    ] = None,
    detector_classes: DetectorClasses = None,
    detector_model: DetectorModel = None,
    trust_pickle: TrustPickle = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Label images that nobody labelled, with a trained detector, for taco-kd train --pseudo.

    Each class gets the lowest confidence at which enough of its boxes are right on validation data.

    [bold]Examples[/bold]

    taco-kd pseudo-label taco-kd-out/runs/nano-baseline --images photos

    taco-kd pseudo-label runs/teacher --data other640 --validation mine --target-precision 0.9 --out pseudo
    """
    from taco_kd.autolabel.detectors import open_detector
    from taco_kd.autolabel.pseudo.detect import LEAST_SCORE
    from taco_kd.autolabel.pseudo.images import find_images, images_of
    from taco_kd.autolabel.pseudo.stage import PseudoOptions
    from taco_kd.autolabel.pseudo.stage import pseudo_label as stage
    from taco_kd.environment import pick_device
    from taco_kd.errors import UsageError
    from taco_kd.evaluate.classes import read_class_map
    from taco_kd.evaluate.predictors import fingerprint
    from taco_kd.progress import notice, task
    from taco_kd.runs import DataDir, split_named

    if (images is None) == (data is None):
        raise UsageError("give the unlabelled images: --images FOLDER or --data DATASET, one of them")
    truth = _validation(model, validation)
    sources = (
        find_images(images) if images else images_of(DataDir.open(data), split_named(split)) if data else []
    )
    if limit is not None and limit < len(sources):
        sources = [sources[i * len(sources) // limit] for i in range(limit)]
    renamed = read_class_map(class_map) if class_map else None
    detector = open_detector(
        model,
        LEAST_SCORE,
        classes=detector_classes,
        model=detector_model,
        trust_pickle=trust_pickle,
        device=pick_device(device),
        option="pseudo-label",
    )
    with task("pseudo-label") as tick:
        result = stage(
            detector,
            sources,
            truth,
            out,
            options=PseudoOptions(target_precision, min_evidence, nms_iou, keep_empty),
            renamed=renamed,
            origin={"source": model, "hash": fingerprint(model)},
            overwrite=overwrite,
            on_progress=tick,
        )
    notice(result.classes.line(detector.name))
    record = result.data.record()
    for message in record["unreadable"][:3]:
        notice(f"left out: {message}")
    if as_json:
        print_json({"path": str(out), **record})
        return
    print_table(*result.table(), title=f"Confidence for {100 * target_precision:.0f} % right labels")
    say(result.line())
    say(f"Dataset: {out}   (taco-kd train --data {truth.path} --pseudo {out})")


def _validation(model: str, given: Path | None) -> DataDir:
    from taco_kd.errors import UsageError
    from taco_kd.evaluate.predictors import is_run
    from taco_kd.evaluate.stage import data_of
    from taco_kd.runs import DataDir, RunDir

    if given is not None:
        return DataDir.open(given)
    if not is_run(model):
        raise UsageError(
            f"{model}: is no run, so which data to choose thresholds on is not known: --validation"
        )
    return data_of(RunDir.open(Path(model)))
