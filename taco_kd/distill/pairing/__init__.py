"""Which student query answers to which teacher query."""

from __future__ import annotations

from collections.abc import Sequence

from taco_kd.classes.class_map import ClassMap
from taco_kd.distill.pairing.assigned import by_assignment
from taco_kd.distill.pairing.hungarian import by_matching
from taco_kd.distill.pairing.index import by_index
from taco_kd.distill.pairing.injected import make_group
from taco_kd.distill.pairing.objects import true_objects
from taco_kd.distill.pairing.pairs import GROUND_TRUTH, HARD_LOGIT, Kind, PairingSettings, Pairs
from taco_kd.distill.pairing.pseudo_gt import by_pseudo_truth
from taco_kd.distill.pairing.seen import seen_by
from taco_kd.types import DetectorOutput, LayerOutput, Targets

__all__ = [
    "GROUND_TRUTH",
    "HARD_LOGIT",
    "Kind",
    "PairingSettings",
    "Pairs",
    "make_group",
    "pair",
    "pair_layers",
]


def pair_layers(
    layers: Sequence[LayerOutput | DetectorOutput],
    teacher: DetectorOutput,
    classes: ClassMap,
    settings: PairingSettings,
    targets: Sequence[Targets] = (),
) -> list[Pairs]:
    """The pairs of each of the student's ``layers``, each matched on its own, with the teacher's last layer.

    Args:
        targets: ground truth of the batch; read by ``assigned`` alone.

    Raises:
        ValueError: ``settings.kind`` is ``injected``, whose pairs come with their group: ``make_group``.
    """
    if settings.kind == "injected":
        raise ValueError("injected queries are paired when their group is made: make_group")
    if settings.kind == "index":
        return [by_index(layer, teacher, classes) for layer in layers]
    if settings.kind == "assigned":
        objects = true_objects(teacher, targets, classes)
        return [by_assignment(layer, teacher, targets, objects, classes) for layer in layers]
    seen = seen_by(teacher, classes, settings)
    by = by_matching if settings.kind == "hungarian" else by_pseudo_truth
    return [by(layer, seen, classes) for layer in layers]


def pair(
    student: LayerOutput | DetectorOutput,
    teacher: DetectorOutput,
    classes: ClassMap,
    settings: PairingSettings,
    targets: Sequence[Targets] = (),
) -> Pairs:
    """The pairs of one layer of the student; see ``pair_layers``."""
    return pair_layers([student], teacher, classes, settings, targets)[0]
