"""``taco-kd prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from taco_kd.cli.common import OUT, AsJson, Overwrite, print_json, say


def prepare(
    out: Annotated[Path, typer.Option(help="Folder of the prepared dataset.")] = Path(OUT) / "data",
    source: Annotated[str, typer.Option(help="auto, synthetic, coco or taco")] = "auto",
    root: Annotated[
        Optional[Path], typer.Option(help="Folder in TACO's layout: annotations.json, batch_*/")
    ] = None,
    images: Annotated[Optional[Path], typer.Option(help="Folder of images of a COCO dataset.")] = None,
    annotations: Annotated[Optional[Path], typer.Option(help="COCO annotation file.")] = None,
    size: Annotated[int, typer.Option(help="Side in pixels of the square output images.")] = 640,
    hash_threshold: Annotated[
        int, typer.Option(help="Perceptual hashes at most this many bits apart are candidate duplicates.")
    ] = 4,
    hash: Annotated[str, typer.Option("--hash", help="Perceptual hash: phash, dhash or whash.")] = "phash",
    hash_size: Annotated[int, typer.Option(help="Side of the hash in bits; 8 makes 64 bits.")] = 8,
    near: Annotated[
        str,
        typer.Option(help="embeddings: candidate duplicates by the vectors of a backbone too, besides hash."),
    ] = "hash",
    near_model: Annotated[
        str, typer.Option(help="That backbone: a listed model, a run or transformers folder, a weights file.")
    ] = "rtdetr-nano",
    near_threshold: Annotated[
        float, typer.Option(help="Vectors with at least this cosine are candidates.")
    ] = 0.97,
    quarantine: Annotated[
        bool,
        typer.Option("--quarantine", help="Keep unusable images out, each listed, instead of stopping."),
    ] = False,
    check_labels: Annotated[
        bool,
        typer.Option("--check-labels/--no-check-labels", help="Look for labels that are turned."),
    ] = True,
    train_ratio: Annotated[float, typer.Option(help="Share of the images that goes to train.")] = 0.85,
    seed: Annotated[int, typer.Option(help="Seed of the split, and of synthetic scenes.")] = 0,
    scenes: Annotated[int, typer.Option(help="How many scenes the synthetic source draws.")] = 400,
    workers: Annotated[int, typer.Option(help="Processes; 0 means one per core.")] = 0,
    clip_boxes: Annotated[
        bool,
        typer.Option("--clip-boxes", help="Clip boxes that leave their image instead of refusing the file."),
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make a dataset: find duplicates, turn by EXIF, resize, split.

    Without a source it draws the built-in synthetic scenes.

    [bold]Examples[/bold]

    taco-kd prepare

    taco-kd prepare --source taco --root TACO/data --out taco640

    taco-kd prepare --source coco --images photos --annotations photos.json --out mine
    """
    from taco_kd.config import PrepareConfig, validate
    from taco_kd.data.leakage import Leakage
    from taco_kd.data.prepare import prepare as stage
    from taco_kd.data.prepare import summary_line
    from taco_kd.progress import notice, task
    from taco_kd.report.duplicates import duplicates_page

    config = validate(
        PrepareConfig,
        {
            "source": source,
            "root": root,
            "images": images,
            "annotations": annotations,
            "size": size,
            "hash_threshold": hash_threshold,
            "hash": hash,
            "hash_size": hash_size,
            "near": near,
            "near_model": near_model,
            "near_threshold": near_threshold,
            "quarantine": quarantine,
            "check_labels": check_labels,
            "train_ratio": train_ratio,
            "seed": seed,
            "scenes": scenes,
            "workers": workers,
            "clip_boxes": clip_boxes,
        },
        where="taco-kd prepare",
    )
    if source == "auto" and root is images is annotations is None:
        notice(f"No dataset given: using {scenes} built-in synthetic scenes (seed {seed}).")
    embed = None
    if config.near == "embeddings":
        from taco_kd.models.embeddings import Embedder

        embed = Embedder(near_model)
    with task("prepare") as tick:
        data = stage(config, out, overwrite=overwrite, on_progress=tick, embed=embed)
    if not data.duplicates_page.is_file():
        duplicates_page(data)
    record = data.record()
    if as_json:
        keys = ("counts", "findings", "leakage")
        print_json({"path": str(out), **{key: record[key] for key in keys}})
        return
    for kind, findings in _by_kind(record["findings"]).items():
        more = "" if len(findings) == 1 else f" (and {len(findings) - 1} more in {data.record_file})"
        notice(f"{kind}: {findings[0]['line']}{more}")
    say(summary_line(data))
    say(Leakage.from_json(record["leakage"]).line())
    say(f"Compared pairs: {data.duplicates_page}")
    say(f"Dataset: {out}")


def _by_kind(findings: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for finding in findings:
        kinds.setdefault(finding["kind"], []).append(finding)
    return kinds
