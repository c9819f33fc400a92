"""What a distillation run checks of itself while it goes on; the results stand in its record.

The teacher stays as it was and gets no gradient, projections are trained, every term that is on teaches
something, and several processes train one model. Each of these failed silently in code that was published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from taco_kd.distill.distiller import Distiller, term_name, trained_parameters
from taco_kd.errors import TacoKDError
from taco_kd.models.weights import weights_hash
from taco_kd.progress import warn
from taco_kd.train.agreement import ranks, require_agreement
from taco_kd.types import DetectorOutput

WARN_AFTER, STOP_AFTER = 10, 100
"""Steps in which a term may be exactly zero before that is told, and before the run ends."""

AGREEMENT_STEPS, AGREEMENT_EVERY = 3, 1000
"""Gradients of several processes are compared in the first steps and in every so many."""

_COUNTED = ("first", "outputs", "compared", "steps", "pairs")


@dataclass(frozen=True)
class Term:
    """A distillation term that is on.

    Attributes:
        setting: that turns it on, for example ``distill.boxes``.
        needs_pairs: whether it compares paired queries, so that it is zero without pairs.
        min_score: teacher queries below it are not paired; None where all are.
    """

    setting: str
    needs_pairs: bool = False
    min_score: float | None = None

    def why(self, pairs: int) -> str:
        """What to look at when the term is zero."""
        if not self.needs_pairs or pairs:
            return f"the teacher tells nothing the student does not know; set {self.setting}=off if so"
        if self.min_score is None:
            return f"no query is paired; set {self.setting}=off if so"
        return (
            f"no teacher query reaches distill.min_teacher_score={self.min_score:g} in a shared class; lower "
            f"it, look at the teacher, or set {self.setting}=off"
        )


class SelfCheck:
    """The checks of one run.

    Args:
        teachers: the networks that teach.
        terms: the distillation terms that are on, by their names in the log.
        projections: trained parameters of the losses.
        optimizer: of the run.

    Raises:
        TacoKDError: a teacher is in training mode or can be trained, or a projection cannot.
    """

    def __init__(
        self,
        teachers: Sequence[nn.Module],
        terms: Mapping[str, Term],
        projections: Sequence[nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self._teachers, self._terms = list(teachers), dict(terms)
        self._hashes = [weights_hash(teacher) for teacher in self._teachers]
        self._first: dict[str, int | None] = dict.fromkeys(terms)  # step in which it was first not zero
        self._projections = len(projections)
        self._outputs = self._compared = self._steps = self._pairs = 0
        self._done = False
        self._require_untouched()
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not all(id(p) in trained for p in projections):
            raise TacoKDError(
                "self-check: a projection is not in the optimiser; it would keep its first values"
            )

    def teacher_output(self, output: DetectorOutput) -> None:
        """Look at what a teacher answered in a step.

        Raises:
            TacoKDError: it carries a gradient: the teacher was not run under ``no_grad``.
        """
        self._outputs += 1
        tensors = [output.logits, output.boxes_cxcywh, *(level.tensor for level in output.features)]
        tensors += [output.attention.tensor] if output.attention is not None else []
        if any(tensor.requires_grad for tensor in tensors):
            raise TacoKDError("self-check: an output of the teacher carries a gradient")

    def gradients(self, named: Iterable[tuple[str, nn.Parameter]], *, step: int) -> None:
        """Compare the gradients of all processes; see ``taco_kd.train.agreement``.

        Args:
            named: what is trained.
            step: from 1; not every step is looked at.
        """
        if ranks() > 1 and (step <= AGREEMENT_STEPS or step % AGREEMENT_EVERY == 0):
            self._compared += require_agreement(named, step=step)

    def step(self, step: int, raw: Mapping[str, float | None], pairs: int) -> None:
        """Take note of the unweighted terms of a step (from 1).

        Raises:
            TacoKDError: a term was zero in each of the first ``STOP_AFTER`` steps.
        """
        self._steps += 1
        self._pairs += pairs
        for name in self._silent():
            if raw.get(name, 0.0) != 0:
                self._first[name] = step
        if self._steps == WARN_AFTER:
            for name in self._silent():
                warn(f"{self._zero(name)}")
        if self._steps == STOP_AFTER and (silent := self._silent()):
            raise TacoKDError(self._zero(silent[0]))

    def end(self) -> None:
        """After the last step.

        Raises:
            TacoKDError: a teacher is not what it was.
        """
        self._require_untouched()
        for place, (teacher, before) in enumerate(zip(self._teachers, self._hashes, strict=True), start=1):
            if weights_hash(teacher) != before:
                raise TacoKDError(f"self-check: the weights of teacher {place} changed during the run")
        if self._steps < WARN_AFTER:
            for name in self._silent():
                warn(self._zero(name))
        self._done = True

    def record(self) -> dict[str, Any]:
        """For the run's record; ``teacher_unchanged`` is None until the end."""
        return {
            "teacher_eval": True,
            "teacher_frozen": True,
            "teacher_outputs_without_gradient": self._outputs,
            "teacher_unchanged": True if self._done else None,
            "projections_in_optimizer": self._projections,
            "first_step_not_zero": dict(self._first),
            "ranks": ranks(),
            "steps_gradients_compared": self._compared,
        }

    def state_dict(self) -> dict[str, Any]:
        """What was counted so far, for a checkpoint."""
        return {name: getattr(self, f"_{name}") for name in _COUNTED}

    def load_state_dict(self, counted: Mapping[str, Any]) -> None:
        """Go on counting from what ``state_dict`` returned."""
        for name in _COUNTED:
            setattr(self, f"_{name}", counted[name])

    def _silent(self) -> list[str]:
        return [name for name, first in self._first.items() if first is None]

    def _zero(self, name: str) -> str:
        return f"{name} was zero in all of {self._steps} steps: {self._terms[name].why(self._pairs)}"

    def _require_untouched(self) -> None:
        for place, teacher in enumerate(self._teachers, start=1):
            if any(_acts_otherwise_in_training(module) for module in teacher.modules()):
                raise TacoKDError(f"self-check: teacher {place} is in training mode, not in eval mode")
            if any(p.requires_grad or p.grad is not None for p in teacher.parameters()):
                raise TacoKDError(f"self-check: teacher {place} is not frozen")


def _acts_otherwise_in_training(module: nn.Module) -> bool:
    """Whether a module is in training mode, and that can matter.

    Ultralytics gives one activation object to all its networks, so a student in training mode sets that of
    its teacher too; it has no state and does the same in both modes.
    """
    if not module.training:
        return False
    state = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return bool(state) or any(True for _ in module.children()) or "drop" in type(module).__name__.lower()


def check_of(distiller: Distiller | None, optimizer: torch.optim.Optimizer) -> SelfCheck:
    """The checks of a run; without a distiller only that several processes train one model."""
    lessons = [] if distiller is None else distiller.each()
    terms = {}
    for place, lesson in enumerate(lessons):
        for term in lesson.config.terms():
            paired = term in ("classes", "boxes")
            by_score = paired and lesson.config.pairing != "index"
            least = lesson.config.min_teacher_score if by_score else None
            terms[term_name(place, term)] = Term(f"distill.{term}", paired, least)
    teachers = [lesson.teacher for lesson in lessons]
    return SelfCheck(teachers, terms, trained_parameters(distiller), optimizer)
