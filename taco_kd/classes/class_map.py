"""Which student class is which teacher class, and a teacher's scores in the student's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taco_kd.classes.spaces import partners
from taco_kd.classes.tables import Table, resolve
from taco_kd.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ClassMap:
    """``student[i]`` is an index in the student's head; ``teacher[i]`` are the indices of its partners.

    Most classes have one partner. With a table a student class can have several (fork, knife and spoon are
    all plastic utensils) and one teacher class can be the partner of several (bottle of three bottles).
    """

    student: list[int]
    teacher: list[tuple[int, ...]]

    @classmethod
    def between(cls, student: Sequence[str], teacher: Sequence[str], table: Table | None = None) -> ClassMap:
        """Partners by name, and for classes that have none by ``table`` (from teacher to student).

        Raises:
            UsageError: the two label spaces share no class, or the table names an unknown one.
        """
        named = partners(student, teacher)
        found: dict[int, tuple[int, ...]] = {i: (j,) for i, j in named.items()}
        if table is not None:
            for j, i in resolve(table, teacher, student):
                if i not in named:
                    found[i] = (*found.get(i, ()), j)
        if not found:
            tried = "" if table is None else f", and {table.name} joins none"
            raise UsageError(
                f"teacher and student share no class name{tried} (teacher: {', '.join(teacher[:5])}…; "
                f"student: {', '.join(student[:5])}…); train a teacher on these classes, give a table "
                "(--class-map coco-to-taco, or a CSV file from,to), or distil features only "
                "(--set distill.classes=off --set distill.boxes=off)"
            )
        order = sorted(found)
        return cls(order, [found[i] for i in order])

    @classmethod
    def by_index(cls, student: Sequence[str], teacher: Sequence[str]) -> ClassMap:
        """Sliced to the common number, as the paper writes; right only when the orders agree."""
        common = list(range(min(len(student), len(teacher))))
        return cls(common, [(j,) for j in common])

    @property
    def one_to_one(self) -> bool:
        """Whether every class has exactly one partner of its own."""
        used = [j for partner in self.teacher for j in partner]
        return len(used) == len(self.teacher) == len(set(used))

    def student_logits(self, logits: Tensor) -> Tensor:
        """Columns of a student's logits [..., C_S] that have a partner: [..., S]."""
        return logits[..., self.student]

    def teacher_logits(self, logits: Tensor) -> Tensor:
        """A teacher's logits [..., C_T] of a sigmoid head, in the S shared classes: [..., S].

        Several partners: the best of them. A teacher class shared by n student classes says "one of these n"
        and not which, so each gets an n-th of its probability.
        """
        if self.one_to_one:
            return logits[..., [j for (j,) in self.teacher]]
        used = [j for partner in self.teacher for j in partner]
        best = []
        for partner in self.teacher:
            shares = [logits[..., j].float().sigmoid() / used.count(j) for j in partner]
            top = shares[0]
            for other in shares[1:]:
                top = top.maximum(other)
            best.append(top.clamp(1e-6, 1 - 1e-6).logit())
        import torch

        return torch.stack(best, dim=-1).to(logits.dtype)

    def teacher_confidence(self, logits: Tensor) -> Tensor:
        """How sure the teacher is that something is there at all: the best shared class, 0..1, [...]."""
        used = sorted({j for partner in self.teacher for j in partner})
        return logits[..., used].float().sigmoid().amax(-1)

    def names(self, student: Sequence[str], teacher: Sequence[str]) -> list[tuple[str, str]]:
        """(student class, its partners) in words, for a record or a table on the screen."""
        return [
            (student[i], ", ".join(teacher[j] for j in partner))
            for i, partner in zip(self.student, self.teacher, strict=True)
        ]
