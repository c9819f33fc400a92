"""Where the generators of random numbers stand when a step begins."""

from __future__ import annotations

import random

import numpy as np
import torch

CPU = torch.device("cpu")


def seed_step(seed: int, step: int, rank: int, device: torch.device = CPU) -> None:
    """Set the generators of Python, NumPy and torch to where this step of this process begins.

    Args:
        device: where it computes. On a CPU only the generator there is set: ``torch.manual_seed`` also goes
            through every kind of device that there might be.
    """
    value = int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)
    if device.type == "cpu":
        torch.default_generator.manual_seed(value)
    else:
        torch.manual_seed(value)
