"""How this process was started: alone, or as one of several by ``torchrun``. Without torch, so that the
command line can ask."""

from __future__ import annotations

import os


def launched() -> bool:
    """Whether this is one of several processes of one run."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank() -> int:
    """Number of this process among those of the run, from 0."""
    return int(os.environ.get("RANK", "0")) if launched() else 0


def speaks() -> bool:
    """Whether this process talks to people: only the first of several does."""
    return rank() == 0
