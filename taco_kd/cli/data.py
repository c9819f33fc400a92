"""``taco-kd prepare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from taco_kd.cli import data_options as options
from taco_kd.cli.common import OUT, AsJson, Overwrite, print_json, print_table, say

if TYPE_CHECKING:
    from taco_kd.config import PrepareConfig


def prepare(
    context: typer.Context,
    out: options.Out = Path(OUT) / "data",
    source: options.Source = "auto",
    root: options.Root = None,
    images: options.Images = None,
    annotations: options.Annotations = None,
    class_map: options.ClassMap = None,
    size: options.Size = 640,
    mode: options.Mode = "stretch",
    truncate_boxes: options.TruncateBoxes = False,
    clip_boxes: options.ClipBoxes = False,
    hash_threshold: options.HashThreshold = 4,
    hash: options.Hash = "phash",
    hash_size: options.HashSize = 8,
    near: options.Near = "hash",
    near_model: options.NearModel = "rtdetr-nano",
    near_threshold: options.NearThreshold = 0.97,
    quarantine: options.Quarantine = False,
    check_labels: options.CheckLabels = True,
    ratio: options.Ratio = 0.85,
    train_ratio: options.TrainRatio = None,
    seed: options.Seed = 0,
    stratify: options.Stratify = False,
    group_by: options.GroupBy = None,
    kfold: options.KFold = None,
    fold: options.Fold = 0,
    ids: options.Ids = None,
    keep_split: options.KeepSplit = False,
    scenes: options.Scenes = 400,
    workers: options.Workers = 0,
    dry_run: options.DryRun = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make a dataset: find duplicates, turn by EXIF, resize, split; as COCO and YOLO at once.

    Without a source it draws the built-in synthetic scenes.

    With --root it recognises TACO's, COCO's, YOLO's and Pascal VOC's layouts.

    [bold]Examples[/bold]

    taco-kd prepare

    taco-kd prepare --root TACO/data --ids taco-paper-225 --out taco640

    taco-kd prepare --root my-yolo-dataset --keep-split --mode letterbox --out mine

    taco-kd prepare --images photos --annotations photos.json --class-map taco-10 --stratify --out mine
    """
    from taco_kd.config import PrepareConfig, validate
    from taco_kd.data.sources import resolve
    from taco_kd.progress import notice

    given = {key: value for key, value in context.params.items() if key in PrepareConfig.model_fields}
    given["train_ratio"] = ratio if train_ratio is None else train_ratio
    config = validate(PrepareConfig, given, where="taco-kd prepare")
    if source == "auto":
        found, mark = resolve(config)
        if found == "synthetic":
            notice(f"No dataset given: using {scenes} built-in synthetic scenes (seed {seed}).")
        elif mark:
            notice(f"Recognised {root}: {found} ({mark}).")
            config = config.model_copy(update={"source": found})
    if dry_run:
        _plan(config, out, as_json)
    else:
        _prepare(config, out, overwrite, as_json)


def _prepare(config: PrepareConfig, out: Path, overwrite: bool, as_json: bool) -> None:
    from taco_kd.data.leakage import Leakage
    from taco_kd.data.prepare import prepare as stage
    from taco_kd.data.prepare import summary_line
    from taco_kd.progress import notice, task
    from taco_kd.report.duplicates import duplicates_page

    embed = None
    if config.near == "embeddings":
        from taco_kd.models.embeddings import Embedder

        embed = Embedder(config.near_model)
    with task("prepare") as tick:
        data = stage(config, out, overwrite=overwrite, on_progress=tick, embed=embed)
    if not data.duplicates_page.is_file():
        duplicates_page(data)
    record = data.record()
    if as_json:
        keys = ("counts", "findings", "leakage", "class_map_table", "content_hash")
        print_json({"path": str(out), **{key: record[key] for key in keys}})
        return
    _print_merged(record["class_map_table"])
    for kind, findings in _by_kind(record["findings"]).items():
        more = "" if len(findings) == 1 else f" (and {len(findings) - 1} more in {data.record_file})"
        notice(f"{kind}: {findings[0]['line']}{more}")
    say(summary_line(data))
    say(Leakage.from_json(record["leakage"]).line())
    say(f"Compared pairs: {data.duplicates_page}")
    say(f"Dataset: {out} (COCO: annotations/, YOLO: data.yaml, card: README.md, pictures: examples.jpg)")


def _by_kind(findings: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for finding in findings:
        kinds.setdefault(finding["kind"], []).append(finding)
    return kinds


def _plan(config: PrepareConfig, out: Path, as_json: bool) -> None:
    from taco_kd.data.estimate import plan
    from taco_kd.progress import task

    with task("try images") as tick:
        found = plan(config, out, on_progress=tick)
    if as_json:
        print_json(found.to_json())
        return
    _print_merged(found.merged)
    say(
        f"{found.images_read:,} images with {found.boxes:,} boxes of {found.classes} classes "
        f"(source {found.source}) -> {found.images['train']:,} train / {found.images['val']:,} val, "
        "before duplicates are removed"
    )
    if found.findings:
        say(f"{len(found.findings)} findings so far; the first: {found.findings[0]['line']}")
    say(
        f"About {found.seconds:.0f} s with {found.workers} processes, "
        f"{found.disk_bytes / 1e6:,.0f} MB in {out} "
        f"({found.free_bytes / 1e6:,.0f} MB free). Nothing was written."
    )


def _print_merged(rows: Sequence[Mapping[str, Any]]) -> None:
    """A line for each class that remains: how many boxes it has, and of which classes of the source."""
    if not rows:
        return
    of_target: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of_target.setdefault(row["target"] or "(dropped)", []).append(row)
    print_table(
        ["class", "boxes", "merged from"],
        [
            [
                target,
                str(sum(row["boxes"] for row in group)),
                _sources(group),
            ]
            for target, group in of_target.items()
        ],
        title="Class map",
    )


def _sources(rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [f"{row['source']} {row['boxes']}" for row in rows if row["boxes"]]
    empty = len(rows) - len(shown)
    return ", ".join([*shown, *([f"{empty} without boxes"] if empty else [])])
