"""The evaluations of a running training, a line each in ``evaluations.jsonl``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from taco_kd.errors import DataError
from taco_kd.files import write_text
from taco_kd.runs import RunDir
from taco_kd.train.log_file import LogFile, line_of


@dataclass(frozen=True)
class Evaluated:
    """What one evaluation found.

    Attributes:
        step: steps done.
        ap, ap50: COCO's, in 0..1.
        images: that were looked at.
        seconds: that it took.
        weights_hash: of the model that was evaluated: the moving average where there is one.
        best: higher than all before it.
    """

    step: int
    ap: float
    ap50: float
    images: int
    seconds: float
    weights_hash: str
    best: bool


def read(run: RunDir, *, up_to: int | None = None) -> list[Evaluated]:
    """The evaluations of a run, oldest first, those of later steps than ``up_to`` left out.

    A line cut off by a crash is left out too.

    Raises:
        DataError: a line is of another kind.
    """
    found = []
    for value in run.evaluations():
        try:
            each = Evaluated(**value)
        except TypeError:
            raise DataError(f"{run.evaluations_file}: holds something else than evaluations") from None
        if up_to is None or each.step <= up_to:
            found.append(each)
    return found


def write(run: RunDir, evaluations: Iterable[Evaluated]) -> None:
    """Replace the file."""
    write_text(run.evaluations_file, "".join(line_of(asdict(each)) for each in evaluations))


def append(run: RunDir, found: Evaluated) -> None:
    with LogFile(run.evaluations_file) as file:
        file.write(asdict(found))
        file.sync()


def best_of(evaluations: Sequence[Evaluated]) -> Evaluated | None:
    """The one with the highest AP, the first of equals."""
    return max(evaluations, key=lambda each: each.ap, default=None)


def since_best(evaluations: Sequence[Evaluated]) -> int:
    """How many evaluations in a row found nothing better."""
    best = best_of(evaluations)
    return 0 if best is None else sum(each.step > best.step for each in evaluations)
