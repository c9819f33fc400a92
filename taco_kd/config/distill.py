"""Settings of distillation: which losses, between which outputs, weighted how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from taco_kd.config.base import Settings

TERMS = ("features", "classes", "boxes", "attention")
"""The terms a teacher can teach by; each has a loss, a weight and a share among the settings."""


class DistillConfig(Settings):
    """The terms of one teacher. Weights are applied in one visible sum: ``taco_kd.distill.distiller``."""

    features: Literal["mse", "cwd", "pkd", "mgd", "cosine", "off"] = "mse"
    """loss between maps: mse (Eq. 2 of the paper), channel-wise, Pearson, masked generation, or cosine"""
    maps: Literal["backbone", "encoder"] = "backbone"
    """which of the student's maps learn: C3 to C5 of the backbone, or P3 to P5 of the encoder"""
    map_levels: Literal["nearest", "last"] = "nearest"
    """which maps are paired: those of the nearest strides, or only the last of each side, as the paper's code
    does with a ViT"""
    classes: Literal["softmax-kl", "sigmoid-bce", "sigmoid-qfl", "off"] = "softmax-kl"
    """loss between class scores: Eq. 3 of the paper, or soft targets for sigmoid heads (qfl: weighted by how
    far off the student is)"""
    boxes: Literal["l1", "l1-giou", "off"] = "l1"
    """loss between boxes: Eq. 4 of the paper, or L1 and GIoU weighted by the teacher's score"""
    attention: Literal["kl", "off"] = "off"
    """loss between the self-attention of the teacher's encoder and that of the student's"""
    pairing: Literal["index", "hungarian", "pseudo-gt", "injected"] = "index"
    """which student query answers to which teacher query"""
    layers: Literal["last", "all"] = "last"
    """decoder layers of the student whose queries are taught; injected queries are taught at every layer"""
    weighting: Literal["fixed", "calibrated"] = "fixed"
    """fixed: the weights below; calibrated: adapted so that the gradient of each term has the share below"""
    feature_weight: float = Field(1.0, ge=0)
    class_weight: float = Field(0.8, ge=0)
    box_weight: float = Field(1.2, ge=0)
    attention_weight: float = Field(1.0, ge=0)
    feature_share: float = Field(0.2, gt=0, lt=1)
    """calibrated: share of this term in the sum of the gradient norms of all terms and the detection loss"""
    class_share: float = Field(0.15, gt=0, lt=1)
    box_share: float = Field(0.15, gt=0, lt=1)
    attention_share: float = Field(0.05, gt=0, lt=1)
    calibration_steps: int = Field(10, ge=1)
    """calibrated: gradients are measured in each of so many first steps"""
    calibrate_every: int = Field(50, ge=1)
    """calibrated: and then in every so many"""
    warmup: float = Field(0.0, ge=0, le=1)
    """share of the run over which the weights rise linearly from zero"""
    decay: Literal["none", "linear", "cosine"] = "none"
    """how the weights fall to zero over the last part of the run"""
    decay_share: float = Field(0.5, gt=0, le=1)
    """share of the run over which they fall"""
    temperature: float = Field(4.0, gt=0)
    """tau of Eq. 3"""
    kl_reduction: Literal["pairs", "images"] = "pairs"
    """softmax-kl: mean over the pairs, or their sum divided by the images alone, as released (batchmean)"""
    min_teacher_score: float = Field(0.3, ge=0, le=1)
    """teacher queries below this score are not paired; not used by index pairing"""
    class_names: Literal["by-name", "by-index"] = "by-name"
    """how classes of teacher and student correspond; by-index slices to the common number (the paper)"""
    class_map: str | None = None
    """for classes that share no name: coco-to-taco, another shipped table, or a CSV file (from,to)"""

    gate: Literal["warn", "strict", "off"] = "warn"
    """teacher and student are compared on held-out images first: warn, or refuse to train (strict), when the
    teacher is not better; off asks nothing"""
    cache: str = "off"
    """folder in which the teacher's answers are kept, so that each is computed once; auto: beside the data"""
    cache_features: bool = False
    """keep the maps (and attention) that the losses need too; they are far larger than predictions"""
    cache_precision: Literal["float32", "float16"] = "float32"
    """of what is kept; boxes are always float32"""
    cache_mode: Literal["exact", "replay"] = "exact"
    """exact: an answer for the image and one for its mirror image; replay: the first one mirrored, at half
    the room and not quite what the teacher would say"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        shares = [self.share_of(term) for term in self.terms()]
        if self.weighting == "calibrated" and sum(shares) >= 1:
            raise ValueError(
                f"the shares of {', '.join(self.terms())} sum to {sum(shares):g}; the detection loss needs "
                "what they leave of 1"
            )
        if self.warmup + (self.decay_share if self.decay != "none" else 0) > 1:
            raise ValueError("warmup and decay_share are parts of one run: their sum is at most 1")
        return self

    def terms(self) -> list[str]:
        """The terms that are on, in the order of ``TERMS``."""
        return [term for term in TERMS if getattr(self, term) != "off"]

    def weight_of(self, term: str) -> float:
        return float(getattr(self, f"{_SINGULAR[term]}_weight"))

    def share_of(self, term: str) -> float:
        return float(getattr(self, f"{_SINGULAR[term]}_share"))


_SINGULAR = {"features": "feature", "classes": "class", "boxes": "box", "attention": "attention"}
