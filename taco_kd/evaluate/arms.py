"""Which runs are one arm: those that differ in nothing but the training seed."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taco_kd.errors import UsageError
from taco_kd.runs import RunDir

HARMLESS = ("seed", "device", "checkpoint_seconds", "workers")
"""Settings of ``train`` that may differ between the seeds of an arm; steps and epochs are in the record."""

HARMLESS_LESSON = ("gate", "cache")
"""Likewise of ``distill``: what is asked before the first step, and where answers are kept."""


@dataclass(frozen=True)
class ArmOfRuns:
    """Runs of one arm, the first seed first.

    Attributes:
        name: of the run, or of what its runs share.
        runs: at least one.
        records: their records.
    """

    name: str
    runs: tuple[RunDir, ...]
    records: tuple[Mapping[str, Any], ...]

    @property
    def seeds(self) -> tuple[int | None, ...]:
        return tuple(seed_of(record) for record in self.records)

    def keys(self) -> list[int | str]:
        """One name for each run: its training seed, or its path where the seeds do not tell them apart."""
        seeds = [seed for seed in self.seeds if seed is not None]
        if len(set(seeds)) == len(self.runs):
            return list(seeds)
        return [str(run.path) for run in self.runs]

    def line(self) -> str:
        """One line that says which runs the arm is made of."""
        members = ", ".join(
            f"{run.name} (seed {seed})" for run, seed in zip(self.runs, self.seeds, strict=True)
        )
        return f"{self.name}: one arm of {len(self.runs)} training seeds: {members}"


def arms_of(runs: Sequence[RunDir], *, group_seeds: bool = True, alone: bool = True) -> list[ArmOfRuns]:
    """The arms in the order of their first runs.

    Runs are grouped where their records say that recipe, initial files, teacher, data and steps are the same
    and each has a training seed of its own. Two runs of the same seed are left alone: they are repetitions.

    Args:
        alone: there is nothing else to compare with, so that a single arm is an error.

    Raises:
        UsageError: a run is given twice, or all runs are one arm.
    """
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise UsageError("a run is given twice: compare different runs")
    records = [run.record() for run in runs]
    groups: dict[str, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        groups[_identity(record) if group_seeds else str(index)].append(index)
    members: list[list[int]] = []
    for found in groups.values():
        seeds = {seed_of(records[index]) for index in found}
        members += [found] if len(seeds) == len(found) and None not in seeds else [[index] for index in found]
    if alone and len(members) == 1 and len(runs) > 1:
        raise UsageError(
            f"{', '.join(run.name for run in runs)} differ in the training seed only: they are one arm, with "
            "nothing to compare it with; add --no-group-seeds to compare them one by one"
        )
    members.sort(key=lambda found: found[0])
    names = _names([[runs[i] for i in found] for found in members], [records[found[0]] for found in members])
    return [
        ArmOfRuns(name, *_by_seed([runs[i] for i in found], [records[i] for i in found]))
        for name, found in zip(names, members, strict=True)
    ]


def named_arm(name: str, runs: Sequence[RunDir]) -> ArmOfRuns:
    """The arm a user put together."""
    return ArmOfRuns(name, *_by_seed(list(runs), [run.record() for run in runs]))


def parse_arm(text: str) -> tuple[str, tuple[Path, ...]]:
    """``NAME=PATH,PATH`` taken apart.

    Raises:
        UsageError: it is written in another way, or a path comes twice.
    """
    name, equals, paths = text.partition("=")
    members = tuple(Path(path.strip()) for path in paths.split(",") if path.strip())
    if not equals or not name.strip() or not members:
        raise UsageError(
            f"--arm {text!r}: write it as NAME=PATH or NAME=PATH,PATH (one path a training seed)"
        )
    if len({member.resolve() for member in members}) < len(members):
        raise UsageError(f"--arm {text}: a path is given twice: training seeds are different runs")
    return name.strip(), members


def seed_of(record: Mapping[str, Any]) -> int | None:
    """The training seed a run's record names."""
    seed = ((record.get("recipe") or {}).get("train") or {}).get("seed")
    return seed if isinstance(seed, int) else None


def _by_seed(
    runs: list[RunDir], records: list[dict[str, Any]]
) -> tuple[tuple[RunDir, ...], tuple[Mapping[str, Any], ...]]:
    order = sorted(range(len(runs)), key=lambda i: (seed_of(records[i]) is None, seed_of(records[i]) or 0, i))
    return tuple(runs[i] for i in order), tuple(records[i] for i in order)


def _identity(record: Mapping[str, Any]) -> str:
    """Everything that makes a run but its seed; of a run without a recipe, nothing is known to be equal."""
    recipe = dict(record.get("recipe") or {"unknown": id(record)})
    recipe["train"] = {k: v for k, v in (recipe.get("train") or {}).items() if k not in HARMLESS}
    recipe["distill"] = _lesson(recipe.get("distill"))
    recipe["also"] = [{**each, "distill": _lesson(each.get("distill"))} for each in recipe.get("also") or ()]
    parts = {
        "recipe": {key: value for key, value in recipe.items() if key not in ("name", "description")},
        "data": (record.get("data") or {}).get("content_hash"),
        **{key: record.get(key) for key in ("kind", "teacher_hash", "steps")},
    }
    return json.dumps(parts, sort_keys=True, default=str)


def _lesson(distill: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (distill or {}).items() if key not in HARMLESS_LESSON}


def _names(groups: Sequence[Sequence[RunDir]], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Run names where a run stands alone; the recipe's name, or what the run names share, for several."""
    unique = len({run.name for runs in groups for run in runs}) == sum(map(len, groups))
    names = []
    for runs, record in zip(groups, records, strict=True):
        if len(runs) == 1:
            names.append(runs[0].name if unique else str(runs[0].path))
            continue
        recipe = str((record.get("recipe") or {}).get("name") or "")
        names.append(recipe or _shared([run.name for run in runs]) or runs[0].name)
    if len(set(names)) == len(names):
        return names
    shared = [
        _shared([run.name for run in runs]) if len(runs) > 1 else name
        for runs, name in zip(groups, names, strict=True)
    ]
    if len(set(shared)) == len(shared) and all(shared):
        return shared
    return [", ".join(str(run.path) for run in runs) for runs in groups]


def _shared(names: Sequence[str]) -> str:
    """What names have in common at their beginning, without a trailing ``-seed``."""
    same = 0
    for letters in zip(*names, strict=False):
        if len(set(letters)) > 1:
            break
        same += 1
    return re.sub(r"[-_. ]*(seed|s)?[-_. ]*$", "", names[0][:same])
