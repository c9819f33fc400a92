"""``taco-kd download``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from taco_kd.cli.common import AsJson, print_json, say

SHOWN = 5


def download(
    dataset: Annotated[str, typer.Argument(help="What to fetch: taco.")],
    out: Annotated[Path, typer.Option(help="Folder of the dataset: annotations.json and the images.")],
    annotations: Annotated[
        Optional[Path], typer.Option(help="The official annotations.json, which names the images' addresses.")
    ] = None,
    zip_file: Annotated[
        Optional[Path], typer.Option("--zip", help="A zip of the dataset to unpack instead.")
    ] = None,
    small: Annotated[
        bool, typer.Option("--small", help="Prefer the small pictures (640 px) where there are any.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Images at once.")] = 8,
    attempts: Annotated[int, typer.Option(min=1, help="Attempts for each address.")] = 5,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds of silence that end an attempt.")] = 20.0,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Only the first so many images.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the images of TACO, in parallel; a second run goes on where the first one stopped.

    [bold]Examples[/bold]

    taco-kd download taco --annotations annotations.json --out TACO

    taco-kd download taco --zip TACO.zip --out TACO
    """
    from taco_kd.data.download import download as stage
    from taco_kd.data.fetch import FetchOptions
    from taco_kd.data.unpack import unpack
    from taco_kd.errors import TacoKDError, UsageError, chosen
    from taco_kd.progress import task

    chosen("dataset", dataset, ("taco",))
    if (annotations is None) == (zip_file is None):
        raise UsageError("give --annotations FILE to fetch images, or --zip FILE to unpack them")
    if zip_file is not None:
        with task("unpack") as tick:
            done = unpack(zip_file, out, on_progress=tick)
        if as_json:
            print_json({"out": str(out), "unpacked": done.unpacked, "present": done.present})
        else:
            say(
                f"{done.unpacked:,} files unpacked, {done.present:,} there already, "
                f"{done.left_out:,} of no use"
            )
            say(f"Next: taco-kd prepare --root {out}")
        return
    assert annotations is not None
    options = FetchOptions(attempts=attempts, timeout_s=timeout)
    with task("download") as tick:
        result = stage(
            annotations, out, jobs=jobs, small=small, limit=limit, options=options, on_progress=tick
        )
    failed = len(result.failed)
    if as_json:
        print_json(
            {"out": str(out), "fetched": result.fetched, "present": result.present, "failed": result.failed}
        )
    else:
        say(f"{result.fetched:,} images fetched, {result.present:,} there already, {failed:,} failed: {out}")
        for name, reasons in list(result.failed.items())[:SHOWN]:
            say(f"  {name}: {'; '.join(reasons)}")
    if failed:
        advice = "run the same command again, or go on without them: taco-kd prepare --quarantine"
        raise TacoKDError(f"{failed} images could not be fetched, listed in {result.failed_file}; {advice}")
    if not as_json:
        say(f"Next: taco-kd prepare --root {out}")
