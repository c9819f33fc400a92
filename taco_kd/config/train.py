"""Settings of the training loop: the same for a baseline, a distillation and a fine-tuning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from taco_kd.config.augment import AugmentConfig
from taco_kd.config.base import Settings


class TrainConfig(Settings):
    steps: int | None = Field(None, ge=1)
    """optimiser steps; overrides epochs"""
    epochs: int = Field(50, ge=1)
    """passes over the training images"""
    batch_size: int = Field(16, ge=1)
    """images in one step, of all processes together"""
    micro_batch: int | None = Field(None, ge=1)
    """images that a process handles at a time, their gradients summed; by default all of its share, and half
    as many each time memory is not enough"""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    """of the forward and backward pass; weights and losses stay float32"""
    lr: float = Field(5e-5, gt=0)
    """peak learning rate of AdamW"""
    backbone_lr_ratio: float = Field(1.0, ge=0)
    """learning rate of the backbone, as a multiple of lr"""
    lr_ratios: dict[str, float] = Field(default_factory=dict)
    """learning rates of other parts, as multiples of lr, by regular expressions searched in the names of the
    parameters; the first that is found counts"""
    weight_decay: float = Field(1e-4, ge=0)
    """weight decay of AdamW"""
    warmup_steps: int = Field(0, ge=0)
    """steps over which the learning rate rises linearly from zero"""
    schedule: Literal["flat", "cosine", "multi-step"] = "flat"
    """learning rate after the warm-up"""
    milestones: tuple[float, ...] = (0.8,)
    """multi-step: after these shares of the steps the learning rate drops"""
    lr_drop: float = Field(0.1, gt=0, lt=1)
    """multi-step: what it is multiplied by"""
    freeze: tuple[str, ...] = ()
    """parameters that are not trained, by regular expressions searched in their names"""
    freeze_batch_norm: bool = False
    """batch norms keep their statistics and weights"""
    sync_batch_norm: bool = False
    """batch norms take their statistics over all processes; micro_batch, where given, is then at least 2"""
    clip_norm: float = Field(0.1, gt=0)
    """largest norm of the whole gradient"""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """decay of the moving average of weights that is kept as the result; 0 keeps the last weights"""
    horizontal_flip: float = Field(0.5, ge=0, le=1)
    """probability of mirroring an image"""
    augment: AugmentConfig = AugmentConfig()
    """what else is done to the images"""
    sampling: Literal["uniform", "class-balanced"] = "uniform"
    """class-balanced: images that show a rare class are seen more often, by the repeat factors of LVIS"""
    balance_below: float | None = Field(None, gt=0, le=1)
    """class-balanced: classes shown by a smaller share of the images are rare; by default than the median
    class"""
    workers: int | None = Field(None, ge=0, le=64)
    """processes that decode and augment images; by default none where the decoded images fit into memory and
    are at most mirrored, else one per core but one, up to 8"""
    seed: int = Field(0, ge=0)
    """seed of data order, augmentation and new layers"""
    checkpoint_seconds: float = Field(60.0, gt=0)
    """a run that is killed loses at most about this much work"""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto"""
    channels_last: bool = False
    """store images and convolutions channels last, which GPUs prefer in bf16 and fp16"""
    compile: bool = False
    """compile the network with torch.compile"""
    deterministic: bool = False
    """only operations that give the same result each time, on the same machine"""
    max_skipped: int = Field(10, ge=0)
    """steps in a row whose loss is not finite that are skipped before the run ends"""
    hold_out: float = Field(0.0, ge=0, lt=1)
    """share of the training images that is put aside: not trained on, but evaluated to choose by"""
    evaluate_every: str = "1 epoch"
    """how often the model is evaluated during the run, where hold_out or choose_on give images for it: a
    number of epochs or of steps (2 epochs, 500 steps), or never"""
    choose_on: Literal["hold-out", "val"] = "hold-out"
    """images that keep and patience go by; val are those that results are reported on, and whoever chooses on
    them reports too much: the record and every report say so"""
    keep: Literal["last", "best"] = "last"
    """weights that the run delivers: of its last step, or of the evaluation with the highest AP"""
    patience: int | None = Field(None, ge=1)
    """evaluations in a row without a higher AP after which the run ends early"""

    @field_validator("evaluate_every", mode="before")
    @classmethod
    def _interval(cls, value: object) -> str:
        """A bare number means steps."""
        text = f"{value} steps" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        _parsed_interval(text)
        return text

    @model_validator(mode="after")
    def _something_to_choose_by(self) -> Self:
        if self.keep == "last" and self.patience is None:
            return self
        asked = "keep = best" if self.keep == "best" else f"patience = {self.patience}"
        if self.evaluate_every == "never":
            raise ValueError(f"{asked} goes by evaluations, and evaluate_every is never")
        if self.choose_on == "hold-out" and self.hold_out == 0:
            raise ValueError(
                f"{asked} needs images to choose on: put some of the training images aside with hold_out "
                "(0.1 is a tenth)"
            )
        return self

    def evaluation_interval(self, steps_per_epoch: int) -> int | None:
        """Steps between two evaluations; None where there are none."""
        if self.choose_on == "hold-out" and self.hold_out == 0:
            return None
        number, unit = _parsed_interval(self.evaluate_every)
        return number and number * (steps_per_epoch if unit == "epoch" else 1)

    @model_validator(mode="after")
    def _not_alone(self) -> Self:
        if self.sync_batch_norm and self.micro_batch == 1:
            raise ValueError("sync_batch_norm needs a micro_batch of at least 2, or none")
        return self

    @field_validator("lr_ratios")
    @classmethod
    def _patterns(cls, ratios: dict[str, float]) -> dict[str, float]:
        _compile_all(ratios)
        for pattern, ratio in ratios.items():
            if ratio < 0:
                raise ValueError(f"{pattern!r} = {ratio:g}: a learning rate cannot be negative")
        return ratios

    @field_validator("freeze")
    @classmethod
    def _frozen(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        _compile_all(patterns)
        return patterns

    @field_validator("milestones")
    @classmethod
    def _shares(cls, milestones: tuple[float, ...]) -> tuple[float, ...]:
        if list(milestones) != sorted(milestones) or not all(0 < share < 1 for share in milestones):
            raise ValueError(f"{list(milestones)}: give rising shares of the run between 0 and 1")
        return milestones


def _parsed_interval(text: str) -> tuple[int | None, str]:
    """A number and ``epoch`` or ``step``; no number for ``never``."""
    found = re.fullmatch(r"([1-9]\d*) *(epoch|step)s?", text.strip())
    if found is None and text.strip() != "never":
        raise ValueError(f"{text!r}: write it like 1 epoch, 500 steps or never")
    return (int(found[1]), found[2]) if found else (None, "step")


def _compile_all(patterns: Iterable[str]) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression ({error})") from None
