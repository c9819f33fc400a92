"""Which student class is which teacher class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taco_kd.errors import UsageError


@dataclass(frozen=True)
class ClassMap:
    """Parallel lists: ``student[i]`` and ``teacher[i]`` are indices of one class in the two heads."""

    student: list[int]
    teacher: list[int]

    @classmethod
    def by_name(cls, student: Sequence[str], teacher: Sequence[str]) -> ClassMap:
        """Classes with exactly the same name.

        Raises:
            UsageError: the two label spaces share no name.
        """
        index = {name: i for i, name in enumerate(teacher)}
        shared = [(i, index[name]) for i, name in enumerate(student) if name in index]
        if not shared:
            raise UsageError(
                f"teacher and student share no class name (teacher: {', '.join(teacher[:5])}…; "
                f"student: {', '.join(student[:5])}…); train a teacher on these classes, "
                "or distil features only (--set distill.classes=off --set distill.boxes=off)"
            )
        return cls([s for s, _ in shared], [t for _, t in shared])

    @classmethod
    def by_index(cls, student: Sequence[str], teacher: Sequence[str]) -> ClassMap:
        """Sliced to the common number, as the paper writes; right only when the orders agree."""
        common = list(range(min(len(student), len(teacher))))
        return cls(common, common)
