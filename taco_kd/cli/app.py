"""The program: its table of commands, its errors and exit codes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

import typer

import taco_kd
from taco_kd.cli import (
    audit,
    autolabel,
    bench,
    compare,
    data,
    demo,
    doctor,
    download,
    listing,
    page,
    pseudo,
    recipe,
    show_batch,
    study,
    training,
    validation,
    watch,
    weights,
)
from taco_kd.errors import GateError, InterruptedRunError, MissingResourceError, TacoKDError, UsageError
from taco_kd.launch import rank, speaks
from taco_kd.train.stopping import StopRequests

app = typer.Typer(
    name="taco-kd",
    help="From raw images to a distilled, benchmarked real-time detector, and an honest answer whether the "
    "distillation helped. Start with: taco-kd demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo.demo,
    "download": download.download,
    "prepare": data.prepare,
    "audit": audit.audit,
    "show-batch": show_batch.show_batch,
    "train": training.train,
    "distill": training.distill,
    "watch": watch.watch,
    "evaluate": validation.evaluate,
    "compare": compare.compare,
    "bench": bench.bench,
    "report": page.report,
    "study": study.study,
    "autolabel-demo": autolabel.autolabel_demo,
    "pseudo-label": pseudo.pseudo_label,
    "list": listing.list_,
    "inspect-weights": weights.inspect_weights,
    "doctor": doctor.doctor,
}
for _name, _function in COMMANDS.items():
    app.command(_name)(_function)
app.add_typer(recipe.app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"taco-kd {taco_kd.__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options before the command."""


SAME_EVERYWHERE = (UsageError, MissingResourceError, GateError, InterruptedRunError)
"""Of several processes of one run all end with these, and the first one tells it."""


def main() -> None:
    """Entry point: one line and an exit code for every error a user can meet."""
    try:
        with StopRequests():
            app()
    except TacoKDError as error:
        same = isinstance(error, SAME_EVERYWHERE) and not speaks()
        if same if error.silent is None else error.silent:
            sys.exit(error.exit_code)
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("stopped", InterruptedRunError.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if "--debug" in sys.argv:
            raise
        _fail(f"{error.filename or 'writing'}: {error.strerror or error}", 1)
    except Exception as error:
        if "--debug" not in sys.argv:
            reason = str(error).splitlines()[0] if str(error) else ""
            _fail(f"unexpected {type(error).__name__}: {reason} (see it whole with taco-kd --debug ...)", 1)
        raise


def _fail(message: str, exit_code: int) -> None:
    if "--debug" in sys.argv:
        traceback.print_exc()
    if not speaks():
        message = f"rank {rank()}: {message}"
    print(f"taco-kd: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(exit_code)
