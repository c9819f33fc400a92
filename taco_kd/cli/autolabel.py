"""``taco-kd autolabel-demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from taco_kd.cli.common import OUT, AsJson, Overwrite, print_json, print_table, say


def autolabel_demo(
    images: Annotated[
        Optional[Path],
        typer.Option(help="Classification folders: <class>/*.jpg.", show_default="synthetic scenes"),
    ] = None,
    detector: Annotated[
        Optional[Path],
        typer.Option(
            help="A YOLO detector, .onnx (or .pt with --trust-pickle).",
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
        Optional[Path], typer.Option(help="Your own table of what can lie in which folder (CSV).")
    ] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Load a .pt file, which can run code of whoever made it.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """The auto-labelling pitfall: a detector finds boxes, the folder's name labels them, and often wrongly.

    [bold]Examples[/bold]

    taco-kd autolabel-demo

    taco-kd autolabel-demo --images trashnet --detector yolov8n.onnx
    """
    from taco_kd.autolabel.compatibility import load_compatibility
    from taco_kd.autolabel.nano import ModelDetector
    from taco_kd.autolabel.stage import autolabel
    from taco_kd.files import read_json
    from taco_kd.models import zoo
    from taco_kd.models.ultralytics_file import BoxDetector, UltralyticsDetector
    from taco_kd.progress import notice, task

    finder: BoxDetector
    if detector is None:
        notice("No detector given: using the packaged nano Conditional DETR, trained on synthetic scenes.")
        weights = zoo.packaged_file(zoo.find("conditional-detr-nano"))
        finder = ModelDetector(zoo.load(weights), "nano Conditional DETR")
    else:
        finder = UltralyticsDetector(detector, min_score, trust_pickle=trust_pickle)
    if images is None:
        notice("No images given: drawing built-in synthetic scenes into classification folders.")
    with task("label") as tick:
        result = autolabel(
            images,
            finder,
            out,
            min_score=min_score,
            limit=limit,
            overwrite=overwrite,
            on_progress=tick,
            compatibility=load_compatibility(compatibility),
        )
    for message in result.unreadable[:3]:
        notice(f"left out: {message}")
    if as_json:
        print_json(read_json(result.audit_file))
        return
    columns, rows = result.table()
    print_table(columns, rows)
    say(result.one_line)
    if result.caveat:
        say(result.caveat)
    say(f"Picture: {result.figure_file}")
