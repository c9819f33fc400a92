"""Who looks at a run while it goes on: a live view, trackers. They see every step and change none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from taco_kd.runs import RunDir
    from taco_kd.train.evaluations import Evaluated
    from taco_kd.train.loop import StepRecord


@dataclass(frozen=True)
class Begin:
    """What is known when a stage of a run begins or goes on.

    Attributes:
        run: folder of the stage.
        record: of the run, as far as it is known.
        step: steps done already.
        steps_total: of this stage.
        offset: steps of the stages before.
        whole: steps of all stages.
    """

    run: RunDir
    record: Mapping[str, Any]
    step: int
    steps_total: int
    offset: int
    whole: int


class Observer(Protocol):
    """Is told of a run by the process that writes its files; steps are those of the stage, from 1."""

    def begin(self, begin: Begin) -> None: ...

    def on_step(self, done: StepRecord) -> None: ...

    def on_evaluated(self, found: Evaluated) -> None: ...

    def close(self) -> None:
        """The run is over, or failed; also called where it never began."""
        ...


@dataclass(frozen=True)
class Observers:
    """All observers of a run, or of the stage of it that begins after ``offset`` of ``whole`` steps."""

    each: Sequence[Observer] = ()
    offset: int = 0
    whole: int | None = None

    def part(self, offset: int, whole: int) -> Observers:
        return replace(self, offset=offset, whole=whole)

    def begin(self, run: RunDir, record: Mapping[str, Any], step: int, steps_total: int) -> None:
        begin = Begin(run, record, step, steps_total, self.offset, self.whole or steps_total)
        for observer in self.each:
            observer.begin(begin)

    def on_step(self, done: StepRecord) -> None:
        for observer in self.each:
            observer.on_step(done)

    def on_evaluated(self, found: Evaluated) -> None:
        for observer in self.each:
            observer.on_evaluated(found)
