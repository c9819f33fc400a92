"""``train.deterministic``: only operations that give the same bits each time, or an error names the other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from taco_kd.errors import UsageError
from taco_kd.train.map_sampling import repeatable

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_REFUSED = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Ask torch, cuDNN and cuBLAS for it during the block; afterwards everything is as before.

    Raises:
        UsageError: an operation that the run needs cannot be had so on its device.
    """
    if not wanted:
        yield
        return
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    flags = cudnn.deterministic, cudnn.benchmark
    workspace = os.environ.get(_WORKSPACE)
    os.environ.setdefault(_WORKSPACE, ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        with repeatable():
            yield
    except RuntimeError as error:
        if found := _REFUSED.search(str(error)):
            raise UsageError(
                f"train.deterministic: {found[1]} has no deterministic form on this device; leave "
                "--deterministic out, or train with --device cpu"
            ) from None
        raise
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        cudnn.deterministic, cudnn.benchmark = flags
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)
