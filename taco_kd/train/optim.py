"""Optimiser and learning-rate schedule of a run."""

from __future__ import annotations

import math
import re

import torch
from torch import nn

from taco_kd.config import TrainConfig
from taco_kd.distill.distiller import Distiller, trained_parameters
from taco_kd.models.detector import Detector


def build_optimizer(student: Detector, distiller: Distiller | None, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the student and, with distillation, the projections. Norms and biases do not decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in student.named_parameters():
        if not parameter.requires_grad:
            continue
        ratio = _ratio(name, student, config)
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((ratio, decay), []).append(parameter)
    projections = trained_parameters(distiller)
    if projections:
        groups.setdefault((1.0, config.weight_decay), []).extend(projections)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": config.lr * ratio, "lr_ratio": ratio, "weight_decay": decay}
            for (ratio, decay), parameters in groups.items()
        ]
    )


def _ratio(name: str, student: Detector, config: TrainConfig) -> float:
    for pattern, ratio in config.lr_ratios.items():
        if re.search(pattern, name):
            return ratio
    return config.backbone_lr_ratio if student.is_backbone(name) else 1.0


def lr_at(step: int, steps: int, config: TrainConfig) -> float:
    """Learning rate of step ``step`` (from 0) of ``steps``: linear warm-up, then as the schedule says.

    ``flat``; ``multi-step``, which drops at each milestone, a share of the steps; ``cosine``, to 0.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "flat":
        return config.lr
    if config.schedule == "multi-step":
        return config.lr * config.lr_drop ** sum(step >= share * steps for share in config.milestones)
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_ratio"]
