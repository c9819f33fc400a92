"""``taco-kd autolabel-demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from taco_kd.cli.common import OUT, AsJson, Device, Overwrite, print_json, print_table, say
from taco_kd.cli.model_options import DetectorClasses, DetectorModel, TrustPickle

if TYPE_CHECKING:
    from taco_kd.autolabel.find import Finders
    from taco_kd.models.ultralytics_file import BoxDetector


def autolabel_demo(
    images: Annotated[
        Optional[Path],
        typer.Option(help="Classification folders: <class>/*.jpg.", show_default="synthetic scenes"),
    ] = None,
    detector: Annotated[
        Optional[str],
        typer.Option(
            help="A .onnx (Ultralytics, YOLOX), .pt or .safetensors file, a run or transformers folder, a "
            "hub name, or a model of taco-kd list models.",
            show_default="the packaged nano model",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the result.")] = Path(OUT) / "autolabel",
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Boxes below this confidence are dropped.")
    ] = 0.25,
    limit: Annotated[
        Optional[int], typer.Option(min=1, help="At most this many photos of each folder.")
    ] = None,
    compatibility: Annotated[
        Optional[Path],
        typer.Option(help="Your own table of what can lie in which folder (CSV); its cells go first."),
    ] = None,
    second_detector: Annotated[
        Optional[str], typer.Option(help="Keep what this one sees too: a remedy. As --detector.")
    ] = None,
    open_vocabulary: Annotated[
        Optional[str],
        typer.Option(
            help="Grounding DINO, OWL-ViT or OWLv2: a folder or hub name. It is asked for the folder's name."
        ),
    ] = None,
    detector_classes: DetectorClasses = None,
    detector_model: DetectorModel = None,
    keep: Annotated[
        str, typer.Option("--filter", help="The remedy whose labels become the dataset 'filtered'.")
    ] = "table",
    export: Annotated[
        bool, typer.Option("--export/--no-export", help="Write the naive and the filtered dataset.")
    ] = True,
    reviews: Annotated[
        Optional[Path],
        typer.Option(help="Answers saved by the gallery in --out: how far the table agrees with them."),
    ] = None,
    review_sample: Annotated[
        int, typer.Option(min=0, help="How many boxes the gallery asks about, picked by chance.")
    ] = 60,
    trust_pickle: TrustPickle = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """The auto-labelling pitfall: a detector finds boxes, the folder's name labels them, and often wrongly.

    And ways out of it, compared on the same photos: datasets before and after, and a gallery to review.

    [bold]Examples[/bold]

    taco-kd autolabel-demo

    taco-kd autolabel-demo --images trashnet --detector yolov8n.onnx --second-detector yolox_nano.onnx

    taco-kd autolabel-demo --reviews reviews.json
    """
    from taco_kd.autolabel.compatibility import load_compatibility
    from taco_kd.autolabel.results import RECORD
    from taco_kd.autolabel.stage import AutolabelOptions, autolabel
    from taco_kd.files import read_json
    from taco_kd.progress import notice, task, warn
    from taco_kd.report.gallery import write_gallery

    if reviews is not None:
        _review(out, reviews, as_json)
        return
    table = load_compatibility(compatibility)
    finder, finders = _finders(
        detector,
        second_detector,
        open_vocabulary,
        min_score,
        synthetic=images is None,
        classes=detector_classes,
        model=detector_model,
        trust_pickle=trust_pickle,
        device=device,
    )
    if images is None:
        notice("No images given: drawing built-in synthetic scenes into classification folders.")
    with task("label") as tick:
        result = autolabel(
            images,
            finder,
            out,
            options=AutolabelOptions(
                min_score=min_score, limit=limit, keep=keep, export=export, review=review_sample
            ),
            finders=finders,
            overwrite=overwrite,
            on_progress=tick,
            compatibility=table,
            finish=write_gallery,
        )
    for message in result.unreadable[:3]:
        notice(f"left out: {message}")
    for message in result.warnings:
        warn(message)
    for message in result.notices:
        notice(message)
    if as_json:
        print_json(read_json(out / RECORD))
        return
    print_table(*result.table())
    say(result.one_line)
    if result.caveat:
        say(result.caveat)
    print_table(*result.remedies_table(), title="Ways out, on the same photos")
    say(f"Picture: {result.figure_file}")
    say(f"Gallery: {result.gallery_file}")
    if export:
        say(f"Datasets: {out / 'naive'} and {out / 'filtered'} ({result.kept.key}: {result.kept.text})")


def _finders(
    detector: str | None,
    second: str | None,
    words: str | None,
    min_score: float,
    *,
    synthetic: bool,
    device: str,
    **given: Any,
) -> tuple[BoxDetector, Finders]:
    """The detector, and those of the remedies; on the built-in scenes a second one comes with the package."""
    from taco_kd.autolabel.detectors import PACKAGED, SECOND, open_detector
    from taco_kd.autolabel.find import NO_SECOND, NO_WORDS, Finders
    from taco_kd.environment import pick_device
    from taco_kd.errors import MissingResourceError
    from taco_kd.models.open_vocabulary import open_open_vocabulary
    from taco_kd.progress import notice

    place = pick_device(device)
    if detector is None:
        notice("No detector given: using the packaged nano Conditional DETR, trained on synthetic scenes.")
        finder = open_detector(PACKAGED, min_score, device=place)
        if second is None and synthetic:
            second = SECOND
    else:
        finder = open_detector(detector, min_score, device=place, **given)
    other: BoxDetector | str = NO_SECOND
    if second is not None:
        other = open_detector(second, min_score, device=place, option="--second-detector", **given)
    asked: Any = NO_WORDS
    if words is not None:
        try:
            asked = open_open_vocabulary(words, min_score, device=place)
        except MissingResourceError as error:
            asked = str(error)
    return finder, Finders(other, asked)


def _review(out: Path, reviews: Path, as_json: bool) -> None:
    from taco_kd.autolabel.review import add_reviews, photos_of, review_line
    from taco_kd.report.gallery import write_gallery

    review = add_reviews(out, reviews)
    page = write_gallery(out, photos_of(out))
    if as_json:
        print_json(review)
        return
    rows = [
        [key, f"{found['right']} / {found['reviewed']}", _interval(found["interval_95"])]
        for key, found in review["remedies"].items()
    ]
    print_table(["labels kept", "right / reviewed", "95 % interval"], rows)
    say(review_line(review))
    if review["outside_sample"]:
        say(f"{review['outside_sample']} answers about boxes outside the random sample enter no figure.")
    say(f"Gallery: {page}")


def _interval(pair: list[float] | None) -> str:
    return "n/a" if pair is None else f"{100 * pair[0]:.0f} to {100 * pair[1]:.0f} %"
