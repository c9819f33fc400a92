"""Progress bars and one-line notices, all on stderr so that stdout stays machine-readable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from taco_kd.launch import speaks

console = Console(stderr=True, highlight=False, quiet=not speaks())


class Tick(Protocol):
    """Tell the bar how far a task is; ``note`` is shown at its right."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


def notice(text: str) -> None:
    """One plain line to the user."""
    console.print(text, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """One line to the user that something deserves a look."""
    console.print(f"[yellow]warning:[/yellow] {escape(text)}", soft_wrap=True)


def escape(text: str) -> str:
    """``text`` with rich's markup characters made literal."""
    from rich.markup import escape as rich_escape

    return rich_escape(text)


@contextmanager
def task(label: str, total: int | None = None) -> Iterator[Tick]:
    """A progress bar for one task. In a file or pipe, one line at its end instead of a bar."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=not console.is_terminal,
        disable=not console.is_terminal,
    ) as bars:
        bar = bars.add_task(label, total=total, note="")
        seen = {"done": 0, "total": total}

        def tick(done: int, total: int, note: str = "") -> None:
            seen.update(done=done, total=total)
            bars.update(bar, completed=done, total=total, note=escape(note))

        yield tick
    if not console.is_terminal and seen["done"]:
        notice(f"{label}: {seen['done']}/{seen['total']}")
