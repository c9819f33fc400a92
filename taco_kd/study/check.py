"""What of a study's settings no single field can know: that its names agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from taco_kd.errors import UsageError

if TYPE_CHECKING:
    from taco_kd.study.config import StudyConfig


def check(study: StudyConfig, where: str) -> None:
    """What no single field can know.

    Raises:
        UsageError: a name that is not defined or defined twice, or both or neither kind of data.
    """
    arms = [arm.name for arm in study.arms]
    starts = [start.name for start in study.initialisations]
    for what, values in (("arm", arms), ("initialisation", starts), ("seed", study.seeds)):
        _refuse_twice(values, what, where)
    if (study.data.path is None) == (study.data.prepare is None):
        raise UsageError(
            f"{where}: [data] needs either path (a prepared dataset) or prepare (how to make one)"
        )
    _known(study.reference, arms, f"{where}: reference")
    if not study.arm(study.reference).compared:
        raise UsageError(f"{where}: the reference {study.reference} has compared = false; name another one")
    for arm in study.arms:
        for start in arm.initialisations or ():
            _known(start, starts, f"{where}: arm {arm.name}: initialisation")
        if arm.initialisations == ():
            raise UsageError(
                f"{where}: arm {arm.name}: initialisations is empty; leave it out for all of them"
            )
        for source in (arm.student_from, arm.teacher_from):
            if source is None:
                continue
            _known(source, arms, f"{where}: arm {arm.name}: an arm called")
            has = study.initialisations_of(study.arm(source))
            for own in study.initialisations_of(arm):
                if own not in has and len(has) > 1:
                    raise UsageError(
                        f"{where}: arm {arm.name} needs {source}, which is not run with {own and own.name}"
                    )
    _refuse_circles(study, where)


def _refuse_twice(values: Sequence[object], what: str, where: str) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise UsageError(f"{where}: {what} {value} is given {count} times")


def _known(name: str, names: Sequence[str], what: str) -> None:
    if name not in names:
        raise UsageError(f"{what} {name!r} is not defined; choose one of {', '.join(names) or '(none)'}")


def _refuse_circles(study: StudyConfig, where: str) -> None:
    needs = {arm.name: {n for n in (arm.student_from, arm.teacher_from) if n} for arm in study.arms}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        raise UsageError(f"{where}: arms that wait for each other: {' -> '.join(error.args[1])}") from None
