"""What memory a process holds, and work that may ask for more than there is."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import psutil
import torch

from taco_kd.errors import TacoKDError

Result = TypeVar("Result")

_SHORT = ("can't allocate memory", "not enough memory", "could not create a primitive")
"""Of PyTorch on a CPU, of Windows, and of oneDNN, which says no more than that."""

_process = cache(psutil.Process)


def unless_short(work: Callable[[], Result]) -> Result | None:
    """What ``work`` returns; None where memory was not enough for it."""
    try:
        return work()
    except (torch.OutOfMemoryError, MemoryError):
        return None
    except RuntimeError as error:  # what a CPU has instead
        if any(words in str(error) for words in _SHORT):
            return None
        raise


def at_any_cost(work: Callable[[], Result]) -> Result:
    """What ``work`` returns, where other processes wait in it, so that it cannot be tried in another way.

    Raises:
        TacoKDError: memory is not enough for it.
    """
    result = unless_short(work)
    if result is None:
        raise TacoKDError(
            "out of memory, and with train.sync_batch_norm a step cannot be done in smaller parts once it is "
            "begun; set a smaller train.micro_batch (at least 2) or train.batch_size"
        )
    return result


def give_back(device: torch.device) -> None:
    """Let go of what nobody holds any more, so that a smaller piece of work finds room."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak_mb(device: torch.device) -> float:
    """Most memory a GPU's tensors ever took, in MB; on a CPU what the process holds now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return float(_process(os.getpid()).memory_info().rss) / 1e6
