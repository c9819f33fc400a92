"""``taco-kd bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from taco_kd.cli.common import OUT, AsJson, Device, print_json, print_table, say

if TYPE_CHECKING:
    from taco_kd.bench.records import BenchRecord


def bench(
    runs: Annotated[
        Optional[list[Path]],
        typer.Argument(
            help="Run folders.", metavar="RUN", show_default=f"{OUT}/runs/*, or else the packaged nano models"
        ),
    ] = None,
    gpu: Annotated[
        Optional[str],
        typer.Option(
            help="Also answer for this GPU (t4): measured if it is in this machine, else projected."
        ),
    ] = None,
    device: Device = "auto",
    seconds: Annotated[
        Optional[float],
        typer.Option(min=0.1, help="Measure each model and scope for at least this many seconds."),
    ] = None,
    iterations: Annotated[
        Optional[int], typer.Option(min=3, help="Measure each model and scope at least this many times.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Latency, parameters and FLOPs: models take turns under one clock; a T4 that is not here is projected.

    [bold]Examples[/bold]

    taco-kd bench --gpu t4

    taco-kd bench runs/baseline runs/distilled --seconds 20
    """
    from taco_kd.bench.runs import bench_runs
    from taco_kd.bench.stage import bench as stage
    from taco_kd.models import zoo
    from taco_kd.progress import notice, task
    from taco_kd.runs import RunDir, find_runs

    opened = [RunDir.open(path) for path in runs] if runs else find_runs(Path(OUT) / "runs")
    setting: dict[str, Any] = {
        "device": device,
        "gpu": gpu,
        "min_seconds": seconds,
        "min_iterations": iterations,
    }
    if opened:
        if not runs:
            notice("Runs: " + ", ".join(str(run.path) for run in opened))
        with task("bench") as tick:
            records = bench_runs(opened, on_progress=tick, **setting)
    else:
        notice("No runs here: measuring the packaged nano models on noise.")
        entries = [entry for entry in zoo.MODELS.values() if entry.packaged]
        files = {entry.name: zoo.packaged_file(entry) for entry in entries}
        models = {name: (zoo.load(file), file) for name, file in files.items()}
        with task("bench") as tick:
            records = stage(models, on_progress=tick, **setting)
    if gpu and any(record.projected for record in records):
        notice(f"No {gpu.upper()} here: figures for it are projected; {records[0].device} was measured.")
    if as_json:
        print_json([record.to_json() for record in records])
        return
    _print(records)


def _print(records: list[BenchRecord]) -> None:
    columns = ["model", "scope", "p50 ms", "95 % interval", "p90", "p99", "params M", "GFLOPs"]
    rows = []
    for r in records:
        low, high = r.median_interval_ms
        p99 = "n/a" if r.p99_ms is None else f"{r.p99_ms:.1f}"
        rows.append(
            [
                r.model,
                r.scope,
                f"{r.p50_ms:.1f}",
                f"[{low:.1f}, {high:.1f}]",
                f"{r.p90_ms:.1f}",
                p99,
                f"{r.parameters['all'] / 1e6:.2f}",
                f"{r.gflops:.2f}",
            ]
        )
    first = records[0]
    title = (
        f"Measured: {first.device}, {first.backend}, {first.precision}, batch {first.batch}, "
        f"{first.threads} threads"
    )
    print_table(columns, rows, title=title)
    projected = [(r, p) for r in records for p in r.projected]
    if projected:
        rows = [
            [
                r.model,
                p.device,
                p.backend,
                f"{p.latency_ms:.2f}",
                f"[{p.interval_ms[0]:.2f}, {p.interval_ms[1]:.2f}]",
            ]
            for r, p in projected
        ]
        print_table(["model", "device", "backend", "ms", "interval"], rows, title="PROJECTED, not measured")
        for basis in dict.fromkeys(p.basis for _, p in projected):
            say(f"* {basis}")
    if not all(r.stable for r in records):
        say("The machine was not steady while warming up: trust ratios more than milliseconds.")
