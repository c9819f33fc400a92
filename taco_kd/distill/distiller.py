"""From lessons to one weighted sum: the distillation terms of a step.

L_total = L_student + l_feat L_feat + l_cls L_cls + l_box L_box (Eq. 1 of RT-CO-DETR), for each teacher
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from taco_kd.config import LessonConfig
from taco_kd.data.batch import Batch
from taco_kd.distill.lesson import Answer, ByLayer, Lesson, Taught
from taco_kd.distill.teacher_cache import TeacherCache
from taco_kd.distill.weighting import DETECTION, Weighting, gradient_norms
from taco_kd.errors import UsageError
from taco_kd.models.detector import Detector, FeatureModel
from taco_kd.types import DetectorOutput, QueryGroup, Targets, total


@dataclass(frozen=True)
class Compared:
    """What the lessons found in one batch.

    Attributes:
        raw: unweighted terms by name.
        pairs: of all lessons together.
        by_layer: of the terms over pairs, those of each decoder layer.
    """

    raw: dict[str, Tensor]
    pairs: int
    by_layer: dict[str, ByLayer]

    def counted(self, shares: Mapping[str, Tensor]) -> Compared:
        """With each layer of a term over pairs multiplied by its share [L]."""
        scaled = {name: (self.by_layer[name].values * share).mean() for name, share in shares.items()}
        return replace(self, raw={**self.raw, **scaled})


@dataclass(frozen=True)
class DistillTerms:
    """Terms of one step by name.

    Attributes:
        raw: as the losses return them.
        weighted: as they enter the sum.
        weights: the factor between the two.
        pairs: pairs of queries, of all lessons together.
        gradient_shares: share of each term, and of ``detection``, in the sum of the norms of the weighted
            gradients on the student's backbone maps; None in the steps that do not measure them.
    """

    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]
    weights: dict[str, float]
    pairs: int
    gradient_shares: dict[str, float] | None = None


def term_name(lesson: int, term: str) -> str:
    """``kd_features`` of the first teacher, ``kd2_features`` of the second."""
    return f"kd{'' if lesson == 0 else lesson + 1}_{term}"


class Distiller(nn.Module):
    """Frozen teachers and the losses that compare a student with them. Owns the projections (trained).

    Args:
        lessons: settings of each teacher.
        student: only its class names, feature levels and what it offers are read here.
        teachers: one for each lesson.

    Raises:
        UsageError: see ``Lesson``; or two lessons want injected queries, or the shares leave nothing to the
            detection loss.
    """

    def __init__(
        self,
        lessons: Sequence[LessonConfig],
        student: Detector,
        teachers: Sequence[Detector | FeatureModel],
    ) -> None:
        super().__init__()
        self.lessons = nn.ModuleList(
            Lesson(lesson.distill, student, teacher)
            for lesson, teacher in zip(lessons, teachers, strict=True)
        )
        if sum(lesson.injects for lesson in self.each()) > 1:
            raise UsageError(
                "distill.pairing=injected can be asked of one teacher only; give the others pairing=hungarian"
            )
        settings, fixed, shares = {}, {}, {}
        for place, lesson in enumerate(lessons):
            for term in lesson.distill.terms():
                name = term_name(place, term)
                settings[name] = lesson.distill
                fixed[name] = lesson.weight * lesson.distill.weight_of(term)
                if lesson.distill.weighting == "calibrated":
                    shares[name] = lesson.weight * lesson.distill.share_of(term)
        if sum(shares.values()) >= 1:
            raise UsageError(
                f"distill: the gradient shares of all teachers sum to {sum(shares.values()):g}; they must "
                "leave something of 1 to the detection loss"
            )
        self.weighting = Weighting(settings, fixed, shares)
        self.caches: list[TeacherCache | None] = [None] * len(self.lessons)
        """where a teacher's answers are kept, for the batches of a dataset"""

    def each(self) -> list[Lesson]:
        """The lessons, the first teacher's first."""
        return [lesson for lesson in self.lessons if isinstance(lesson, Lesson)]

    @property
    def features_only(self) -> bool:
        """Whether the student's backbone maps are all that is taught."""
        return all(lesson.asks() == {"with_features"} for lesson in self.each()) and not any(
            lesson.needs_predictions for lesson in self.each()
        )

    def teach(
        self, images: Tensor, targets: Sequence[Targets], *, seed: int = 0, batch: Batch | None = None
    ) -> list[Taught]:
        """One forward of each teacher on ``images`` [B, 3, H, W] in 0..1; none for answers that are kept.

        Args:
            targets: the ground truth, beside which injected queries are made.
            seed: of the noise of injected queries, another one for each step.
            batch: where ``images`` are from; without it caches are not looked into.
        """
        said = []
        for lesson, cache in zip(self.each(), self.caches, strict=True):
            if cache is None or batch is None:
                output = lesson.teacher_output(images)
            else:
                output = cache.output(batch, images)
            said.append(lesson.taught(output, targets, seed=seed))
        return said

    def asks(self, taught: Sequence[Taught]) -> dict[str, bool | QueryGroup]:
        """Keywords of the student's forward; always the backbone maps, where gradients are measured."""
        asked: dict[str, bool | QueryGroup] = {"with_features": True}
        for lesson in self.each():
            asked |= dict.fromkeys(lesson.asks(), True)
        groups = [each.queries for each in taught if each.queries is not None]
        return asked | ({"queries": groups[0]} if groups else {})

    def compare(self, student: DetectorOutput, taught: Sequence[Taught]) -> Compared:
        """The unweighted terms.

        Args:
            student: its output on the batch, asked for as ``asks`` says.
            taught: what ``teach`` returned for the batch.
        """
        raw: dict[str, Tensor] = {}
        by_layer: dict[str, ByLayer] = {}
        pairs = 0
        for place, (lesson, said) in enumerate(zip(self.each(), taught, strict=True)):
            answer: Answer = lesson(student, said)
            raw |= {term_name(place, name): term for name, term in answer.terms.items()}
            by_layer |= {term_name(place, name): layers for name, layers in answer.by_layer.items()}
            pairs += answer.pairs
        return Compared(raw, pairs, by_layer)

    def weigh(
        self,
        compared: Compared,
        *,
        step: int,
        steps_total: int,
        norms: Mapping[str, float] | None = None,
    ) -> DistillTerms:
        """The terms with their weights.

        Args:
            step, steps_total: where in the run this is, from 0; for scheduled and calibrated weights.
            norms: gradient norms measured in this step, for the log.
        """
        raw = compared.raw
        weights = {name: self.weighting.weight(name, step / steps_total) for name in raw}
        weighted = {name: weights[name] * term for name, term in raw.items()}
        return DistillTerms(raw, weighted, weights, compared.pairs, _shares(norms, weights))

    def norms(self, compared: Compared, student: DetectorOutput) -> dict[str, float]:
        """Norms of the gradients of the terms and of the detection loss on the student's backbone maps.

        Needs some passes through decoder and encoder; the graph is kept.
        """
        own = {DETECTION: total(student.losses)} if student.losses else {}
        maps = [level.tensor for level in student.features]
        return {DETECTION: 0.0, **gradient_norms({**compared.raw, **own}, maps)}


def _shares(norms: Mapping[str, float] | None, weights: Mapping[str, float]) -> dict[str, float] | None:
    if norms is None:
        return None
    parts = {name: norm * weights.get(name, 1.0) for name, norm in norms.items()}
    whole = sum(parts.values())
    return {name: part / whole if whole else 0.0 for name, part in parts.items()}


def trained_parameters(distiller: Distiller | None) -> list[nn.Parameter]:
    """Projections and whatever else the losses own that is trained."""
    return [] if distiller is None else [p for p in distiller.parameters() if p.requires_grad]
