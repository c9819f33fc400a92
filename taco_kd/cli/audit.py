"""``taco-kd audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from taco_kd.cli.common import OUT, AsJson, print_json, say

if TYPE_CHECKING:
    from taco_kd.data.audit import Audit

GATE_EXIT_CODE = 5
SHOWN = 3  # findings of a kind that the terminal shows


def audit(
    data: Annotated[
        Path, typer.Argument(help="A prepared dataset, a folder with annotations.json, or a COCO file.")
    ],
    images: Annotated[
        Optional[Path],
        typer.Option(help="Folder of images of a COCO file; without it only the file is looked at."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the page and of audit.json.")] = Path(OUT) / "audit",
    size: Annotated[
        Optional[int],
        typer.Option(
            min=32,
            max=4096,
            help="Side of the square that sizes after the resize are for.",
            show_default="that of a prepared dataset, else 640",
        ),
    ] = None,
    hash_threshold: Annotated[
        int, typer.Option(min=0, max=32, help="Hashes at most this many bits apart are candidate duplicates.")
    ] = 4,
    fix: Annotated[
        Optional[Path],
        typer.Option(
            metavar="NEW",
            help="Write a repaired copy here, with a log: a .json for an annotation file, a folder for a "
            "prepared dataset. The original is not touched.",
        ),
    ] = None,
    turn_labels: Annotated[
        bool,
        typer.Option("--turn-labels", help="With --fix: turn labels that fit the pixels better so."),
    ] = False,
    fail_on: Annotated[
        str, typer.Option(help="Exit with code 5 if there are findings so bad: error, warning, or never.")
    ] = "never",
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 means one per core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what --fix names.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look a dataset through: boxes, ids, files, sizes, duplicates, turned labels, leaks between the splits.

    [bold]Examples[/bold]

    taco-kd audit taco-kd-out/data

    taco-kd audit TACO/data --fail-on error

    taco-kd audit photos.json --images photos --fix photos-fixed.json
    """
    from taco_kd.data.audit import audit as stage
    from taco_kd.data.audit_fix import write_fixed
    from taco_kd.errors import UsageError, chosen
    from taco_kd.files import write_json
    from taco_kd.progress import notice, task
    from taco_kd.report.audit import audit_page

    threshold = chosen("--fail-on", fail_on, ("error", "warning", "never"))
    if turn_labels and fix is None:
        raise UsageError("--turn-labels needs --fix NEW: nothing is changed without it")
    with task("audit") as tick:
        found = stage(
            data,
            images=images,
            size_px=size,
            hash_threshold=hash_threshold,
            workers=workers,
            on_progress=tick,
        )
    fixed = None if fix is None else write_fixed(found, fix, turn_labels=turn_labels, overwrite=overwrite)
    write_json(out / "audit.json", found.to_json())
    page = audit_page(found, out / "index.html")
    bad = {"error": ("error",), "warning": ("error", "warning"), "never": ()}[threshold]
    failed = sum(f.severity in bad for f in found.found)
    if as_json:
        log = (
            None
            if fixed is None
            else {"path": str(fixed.path), "log": str(fixed.log), "fixes": dict(fixed.counts)}
        )
        print_json({**found.to_json(), "page": str(page), "fixed": log})
    else:
        _print(found)
        if fixed is not None:
            say(f"Repaired: {fixed.path} ({sum(fixed.counts.values())} changes, each in {fixed.log})")
        say(f"Page: {page}")
    if failed:
        notice(f"--fail-on {threshold}: {failed} findings")
        raise typer.Exit(GATE_EXIT_CODE)


def _print(found: Audit) -> None:
    from taco_kd.data.audit_kinds import KINDS

    for part in found.parts:
        counted = part.statistics
        looked = "" if part.seen else " (the file alone: no --images)"
        say(
            f"{part.source.name}: {counted.images:,} images, {counted.boxes:,} boxes, "
            f"{len(counted.per_class)} classes{looked}"
        )
    several = len(found.parts) > 1
    for kind, number in found.counts().items():
        say(f"{KINDS[kind].severity:8}{number:6,} x {KINDS[kind].title}  (--fix: {KINDS[kind].fix})")
        lines = [
            f"{part.source.name}: {f.line}" if several else f.line
            for part in found.parts
            for f in part.found
            if f.kind == kind
        ]
        for line in lines[:SHOWN]:
            say(f"                 {line}")
        if number > SHOWN:
            say(f"                 and {number - SHOWN:,} more")
    if not found.found:
        say("Nothing to report.")
    if found.leakage is not None:
        say(found.leakage.line())
