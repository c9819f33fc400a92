"""A recipe in the words of Ultralytics' trainer, and what of it has none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from taco_kd.config import Recipe, TrainConfig
from taco_kd.errors import UsageError
from taco_kd.launch import launched
from taco_kd.models.detector import Detector
from taco_kd.models.rtdetr_ultralytics import RTDetrHGNet
from taco_kd.models.yolo import Yolo

NAME = "ultralytics"
"""of this engine, in records and on the command line"""

OWN = "taco-kd"
"""of the loop that all models share"""

MAPPED = {
    *("steps", "epochs", "batch_size", "lr", "weight_decay", "warmup_steps", "schedule", "horizontal_flip"),
    *("seed", "device", "precision", "channels_last", "deterministic", "hold_out", "choose_on", "keep"),
    *("patience", "checkpoint_seconds", "ema_decay", "clip_norm", "evaluate_every"),
}
"""Settings of ``train`` that are mapped, or told of by name in :func:`told`."""

CLIP_NORM = 10.0
"""of Ultralytics' trainer, which cannot be set"""


@dataclass(frozen=True)
class Plan:
    """What the trainer is asked for.

    Attributes:
        arguments: its own, without paths.
        warmup_steps: which it would round to epochs.
        batches: of an epoch; the last one may be smaller.
        untold: what of the recipe it does not do, in words.
    """

    arguments: dict[str, Any]
    warmup_steps: int
    batches: int
    untold: tuple[str, ...]

    @property
    def epochs(self) -> int:
        return int(self.arguments["epochs"])

    @property
    def steps_total(self) -> int:
        return self.epochs * self.batches


def require_possible(recipe: Recipe, student: Detector | None = None) -> None:
    """Raise UsageError for a run that Ultralytics' trainer cannot do; of the student, once it is built."""
    if recipe.teacher is not None:
        raise UsageError(
            f"--engine {NAME} trains without a teacher, and recipe {recipe.name} has one: leave --engine out"
        )
    if recipe.pseudo is not None:
        raise UsageError(f"--engine {NAME} cannot mix in pseudo-labels by the step: leave --engine out")
    if recipe.train.freeze or recipe.train.lr_ratios or recipe.train.backbone_lr_ratio != 1:
        raise UsageError(
            f"--engine {NAME} trains all parameters at one rate: unset train.freeze, train.lr_ratios and "
            "train.backbone_lr_ratio, or leave --engine out"
        )
    if launched():
        raise UsageError(f"--engine {NAME} is started without torchrun, and takes one device")
    if student is not None and not isinstance(student, Yolo | RTDetrHGNet):
        raise UsageError(
            f"--engine {NAME} trains YOLO11, YOLOv8 and RT-DETR with an HGNetv2 backbone (taco-kd list "
            f"models), not {student.model_name}"
        )


def plan(recipe: Recipe, student: Detector, images: int, device: str) -> Plan:
    """The recipe in the trainer's words.

    Args:
        images: that are trained on.
        device: ``cpu`` or ``cuda:N``.
    """
    config = recipe.train
    batches = math.ceil(images / config.batch_size)
    epochs = max(1, round(config.steps / batches)) if config.steps is not None else config.epochs
    looks = config.hold_out > 0 or config.choose_on == "val"
    arguments = {
        "task": "detect",
        "epochs": epochs,
        "batch": config.batch_size,
        "nbs": config.batch_size,  # a step for each batch: else gradients of 64 images are summed
        "imgsz": student.image_size,
        "optimizer": "AdamW",
        "lr0": config.lr,
        "lrf": 0.0 if config.schedule == "cosine" else 1.0,
        "cos_lr": config.schedule == "cosine",
        "momentum": 0.9,  # of AdamW its first beta
        "warmup_momentum": 0.9,
        "warmup_bias_lr": 0.0,
        "weight_decay": config.weight_decay,
        "fliplr": config.horizontal_flip,
        "seed": config.seed,
        "deterministic": True,
        "device": "cpu" if device == "cpu" else device.partition(":")[2] or "0",
        "amp": {"fp16": True, "bf16": "bf16"}.get(config.precision, False),
        "channels_last": config.channels_last,
        "val": looks and config.evaluate_every != "never",
        "patience": config.patience or 0,
        "pretrained": False,
        "plots": False,
        "verbose": False,
        "exist_ok": True,
        "rect": False,
    }
    return Plan(arguments, config.warmup_steps, batches, tuple(told(config, epochs, batches)))


def told(config: TrainConfig, epochs: int, batches: int) -> list[str]:
    """What the trainer does otherwise than the recipe says."""
    found = []
    if config.steps is not None and config.steps != epochs * batches:
        found.append(f"{config.steps:,} steps are {epochs:,} epochs of {batches:,}")
    if config.schedule == "multi-step":
        found.append("the learning rate stays flat instead of dropping at milestones")
    if config.clip_norm != CLIP_NORM:
        found.append(f"gradients are clipped at {CLIP_NORM:g} instead of {config.clip_norm:g}")
    if config.ema_decay != 0.9999:
        found.append("the result is its moving average of weights (decay 0.9999)")
    if config.evaluate_every not in ("1 epoch", "1 epochs", "never") and config.hold_out:
        found.append("it is evaluated every epoch")
    default = TrainConfig()
    other = [
        name
        for name in type(config).model_fields
        if name not in MAPPED and getattr(config, name) != getattr(default, name)
    ]
    if other:
        found.append(f"not mapped: {', '.join(f'train.{name}' for name in other)}")
    found.append("augmentation but for the flip is its own (mosaic, scale, HSV)")
    return found
