"""One teacher and the losses that compare a student with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taco_kd.classes.class_map import ClassMap
from taco_kd.classes.tables import read_table
from taco_kd.config import DistillConfig
from taco_kd.distill import pairing
from taco_kd.distill.checks import check_lesson, predicts
from taco_kd.distill.losses.attention import AttentionTransfer
from taco_kd.distill.losses.feature_losses import FEATURE_LOSSES
from taco_kd.distill.losses.l1 import l1
from taco_kd.distill.losses.l1_giou import l1_giou
from taco_kd.distill.losses.sigmoid_bce import sigmoid_bce
from taco_kd.distill.losses.softmax_kl import softmax_kl
from taco_kd.distill.pairing import PairingSettings, Pairs
from taco_kd.models.detector import Detector, FeatureModel
from taco_kd.types import DetectorOutput, LayerOutput, QueryGroup, Targets


@dataclass(frozen=True)
class Taught:
    """A teacher's answer on a batch, its truth and, with injected pairing, what the decoder is asked."""

    output: DetectorOutput
    targets: Sequence[Targets]
    queries: QueryGroup | None = None
    pairs: Pairs | None = None


def class_map(config: DistillConfig, student: Sequence[str], teacher: Sequence[str]) -> ClassMap:
    """Which student class is which teacher class, as the settings say.

    Raises:
        UsageError: no class is shared, or a table names an unknown one.
        DataError: the table cannot be read.
    """
    if config.class_names == "by-index":
        return ClassMap.by_index(student, teacher)
    table = read_table(config.class_map) if config.class_map is not None else None
    return ClassMap.between(student, teacher, table)


@dataclass(frozen=True)
class ByLayer:
    """A term of each of L taught decoder layers: ``values`` [L], and by what its sum over pairs was divided,
    ``divisors`` [L], without gradient."""

    values: Tensor
    divisors: Tensor


@dataclass(frozen=True)
class Answer:
    """What a lesson found: unweighted terms by name, those over pairs by layer too, and how many pairs."""

    terms: dict[str, Tensor]
    by_layer: dict[str, ByLayer]
    pairs: int


class Lesson(nn.Module):
    """A frozen teacher and the losses that compare a student with it. Owns the projections (trained).

    Args:
        config: which losses, the pairing.
        student: only its class names, feature levels and what it offers are read here.
        teacher: put into eval mode and frozen. A feature teacher has no classes and no boxes.

    Raises:
        UsageError: the terms ask a model for what it has not, or for nothing at all; or these two models
            cannot be paired as the settings say, or share no class.
    """

    def __init__(self, config: DistillConfig, student: Detector, teacher: Detector | FeatureModel) -> None:
        super().__init__()
        check_lesson(config, student, teacher)
        self.config = config
        # In a list, so not a child: the teacher is neither trained, nor saved, nor set to train().
        self._teacher = [teacher.eval().requires_grad_(False)]
        self.needs_predictions = predicts(config)
        self.pairing = PairingSettings(kind=config.pairing, min_score=config.min_teacher_score)
        self.classes = ClassMap([], [])
        if self.needs_predictions:
            self.classes = class_map(config, student.class_names, teacher.class_names)
        self._class_names = (student.class_names, teacher.class_names)
        levels = student.encoder_spec if config.maps == "encoder" else student.features_spec
        self.feature_loss = None
        if config.features != "off":
            loss = FEATURE_LOSSES[config.features]
            self.feature_loss = loss(levels, teacher.features_spec, levels=config.map_levels)
        self.attention_loss = AttentionTransfer() if config.attention != "off" else None

    @property
    def teacher(self) -> Detector | FeatureModel:
        return self._teacher[0]

    @property
    def injects(self) -> bool:
        """Whether the student's decoder is given queries."""
        return self.needs_predictions and self.config.pairing == "injected"

    def class_pairs(self) -> dict[str, str]:
        """Which student class learns from which teacher classes, by name; for the record."""
        return dict(self.classes.names(*self._class_names))

    def asks(self) -> set[str]:
        """What the student's forward must hand out for this lesson: keywords of ``Detector.forward``."""
        wanted = set()
        if self.feature_loss is not None:
            wanted.add("with_encoder" if self.config.maps == "encoder" else "with_features")
        if self.attention_loss is not None:
            wanted.add("with_attention")
        return wanted

    @torch.no_grad()
    def teacher_output(self, images: Tensor) -> DetectorOutput:
        """One forward of the teacher on ``images`` [B, 3, H, W] in 0..1.

        A detector sees them at its own input size. A feature teacher takes any size, so it sees the very
        pixels of the student; its answer has no query.
        """
        teacher = self.teacher
        if isinstance(teacher, FeatureModel):
            none = images.new_zeros(len(images), 0, 0)
            return DetectorOutput(none, images.new_zeros(len(images), 0, 4), teacher(images))
        side = teacher.image_size
        if images.shape[-2:] != (side, side):
            images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
        wanted = {"with_features": self.feature_loss is not None}
        if self.attention_loss is not None:
            wanted["with_attention"] = True
        output: DetectorOutput = teacher(images, **wanted)
        if self.needs_predictions and self.config.pairing != "index":
            return teacher.as_queries(output)  # one-to-one needs at most one query for an object
        return output

    def taught(self, output: DetectorOutput, targets: Sequence[Targets], *, seed: int) -> Taught:
        """What the lesson says about a batch, given the teacher's ``output`` on it.

        The noise of injected queries comes from ``seed``, so that it draws nothing from the generator that
        the student's own denoising draws from.
        """
        if not self.injects:
            return Taught(output, targets)
        group, pairs = pairing.make_group(
            output,
            targets,
            self.classes,
            self.pairing,
            num_classes=len(self._class_names[0]),
            generator=torch.Generator().manual_seed(seed),
        )
        return Taught(output, targets, group, pairs)

    def forward(self, student: DetectorOutput, taught: Taught) -> Answer:
        """Unweighted terms; gradients reach student and projections only."""
        terms: dict[str, Tensor] = {}
        if self.feature_loss is not None:
            maps = student.encoder_maps if self.config.maps == "encoder" else student.features
            terms["features"] = self.feature_loss(maps, taught.output.features)
        by_layer: dict[str, ByLayer] = {}
        pairs = 0
        if self.needs_predictions:
            layers = [self._compare(layer, found) for layer, found in self._pairs(student, taught)]
            pairs = layers[-1][1]
            for name in layers[-1][0]:
                values, divisors = zip(*(found[name] for found, _ in layers), strict=True)
                by_layer[name] = ByLayer(torch.stack(values), torch.stack(divisors))
                terms[name] = by_layer[name].values.mean()
        if self.attention_loss is not None:
            assert student.attention is not None
            assert taught.output.attention is not None
            terms["attention"] = self.attention_loss(student.attention, taught.output.attention)
        return Answer(terms, by_layer, pairs)

    def _pairs(self, student: DetectorOutput, taught: Taught) -> list[tuple[LayerOutput, Pairs]]:
        """The decoder layers that are taught, with the pairs of each."""
        if taught.pairs is not None:
            return [(layer, taught.pairs) for layer in student.injected]
        layers = [LayerOutput(student.logits, student.boxes_cxcywh)]
        if self.config.layers == "all":
            layers = [*student.layers, *layers]
        pairs = pairing.pair_layers(layers, taught.output, self.classes, self.pairing, taught.targets)
        return list(zip(layers, pairs, strict=True))

    def _compare(self, layer: LayerOutput, found: Pairs) -> tuple[dict[str, tuple[Tensor, Tensor]], int]:
        """Each term of one layer and what it was divided by; and the number of pairs."""
        config, terms = self.config, dict[str, tuple[Tensor, Tensor]]()
        logits = self.classes.student_logits(layer.logits[found.image, found.student])
        boxes = layer.boxes_cxcywh[found.image, found.student]
        images, count = layer.logits.new_tensor([len(layer.logits), len(found)]).unbind()
        scores = found.score.detach().sum().to(count.dtype)
        if config.classes == "softmax-kl":
            kl = softmax_kl(
                logits,
                found.target_logits,
                temperature=config.temperature,
                reduction=config.kl_reduction,
                images=len(layer.logits),
            )
            terms["classes"] = kl, images if config.kl_reduction == "images" else count
        elif config.classes != "off":
            focus = 2.0 if config.classes == "sigmoid-qfl" else 0.0
            bce = sigmoid_bce(logits, found.target_logits.sigmoid(), found.score, focus=focus)
            terms["classes"] = bce, scores
        if config.boxes == "l1":
            terms["boxes"] = l1(boxes, found.target_boxes), count
        elif config.boxes == "l1-giou":
            terms["boxes"] = l1_giou(boxes, found.target_boxes, found.score), scores
        return terms, len(found)
