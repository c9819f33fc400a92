"""The processes of a run: one, or as many as ``torchrun`` started, one on each GPU (accelerate joins them).

Gradients are summed once a step, after the backward pass (docs/adr/003): so no collective waits inside a
forward or backward pass for a process that ran out of memory there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from taco_kd.errors import InterruptedRunError, MissingResourceError, TacoKDError, UsageError
from taco_kd.launch import launched
from taco_kd.models.hf import normalise_by_own_boxes

BUCKET_BYTES = 32 << 20
"""Gradients are sent in pieces of about this size."""

TIMEOUT_S = 2 * 3600
"""For so long the others wait while the first process evaluates; one that died is noticed at once."""


_COLLECTIVE = re.compile("gloo|nccl|connection|socket|store|process ?group|peer", re.IGNORECASE)
"""What the errors of torch's collectives are about."""

Result = TypeVar("Result")

LOOK_S = 1.0
"""How long the others may take to say that they are still there."""


class LostProcessError(TacoKDError):
    """Another process of the run is gone; what was done until then is on disk."""

    exit_code = InterruptedRunError.exit_code


class Processes:
    """What the processes of a run tell each other. Alone, everything is what it was.

    Args:
        device: of this process.
        rank: number of this process, from 0.
        world: how many there are.
    """

    def __init__(self, device: torch.device, rank: int = 0, world: int = 1) -> None:
        self.device, self.rank, self.world = device, rank, world

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each of the numbers, summed over all processes.

        Raises:
            LostProcessError: another process is gone.
        """
        if self.world == 1:
            return list(values)
        table = torch.tensor(values, dtype=torch.float64, device=self.device)
        self._sum(table)
        return [float(value) for value in table.tolist()]

    def everyone(self, value: float) -> list[float]:
        """The number that each process holds, by rank."""
        own = [0.0] * self.world
        own[self.rank] = value
        return self.sums(own)

    def tell(self, value: Any) -> Any:
        """What the first process holds, in all of them."""
        if self.world == 1:
            return value
        box = [value]
        self.guarded(dist.broadcast_object_list, box, src=0, device=self.device)
        return box[0]

    def collect(self, value: Any) -> list[Any]:
        """What each process holds, by rank."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        self.guarded(dist.all_gather_object, found, value)
        return found

    def wait(self) -> None:
        """Until every process is here."""
        self.sums([0.0])

    def require_same(self, what: str, value: str) -> None:
        """Raise UsageError unless ``value`` is the same in all processes."""
        if self.world == 1:
            return
        values = self.collect(value)
        if any(each != values[0] for each in values):
            said = ", ".join(f"{each!r} in rank {rank}" for rank, each in enumerate(values))
            raise UsageError(
                f"{what} is not the same in all {self.world} processes ({said}): start them with the same "
                "command on the same data"
            )

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make each gradient the sum over all processes; one that no process has stays None."""
        if self.world == 1:
            return
        trained = list(parameters)
        has = self.sums([float(p.grad is not None) for p in trained])
        for parameter, count in zip(trained, has, strict=True):
            if count and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for gradients in _buckets([p.grad for p in trained if p.grad is not None]):
            whole = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self._sum(whole)
            sizes = [gradient.numel() for gradient in gradients]
            for gradient, part in zip(gradients, torch.split(whole, sizes), strict=True):
                gradient.copy_(part.view_as(gradient))

    def _sum(self, tensor: Tensor) -> None:
        self.guarded(dist.all_reduce, tensor)

    def guarded(self, work: Callable[..., Result], *values: Any, **options: Any) -> Result:
        """What ``work`` returns, in which this process may wait for the others.

        Raises:
            LostProcessError: one of them is gone.
        """
        try:
            return work(*values, **options)
        except RuntimeError as error:
            if self.world == 1 or not _COLLECTIVE.search(str(error)):
                raise
            gone, told = self._gone()
            names = " and ".join(f"rank {rank}" for rank in gone) or "another process"
            lost = LostProcessError(f"{names} of {self.world} ended unexpectedly")
            lost.silent = told or self.rank != min({*range(self.world)} - {*gone})
            raise lost from error

    def failed(self) -> None:
        """Let the others know that this process ends with an error that it tells itself."""
        if self.world > 1:
            with suppress(Exception):  # the store may be gone
                _store().set(f"taco-kd/told/{self.rank}", "")

    def _gone(self) -> tuple[list[int], bool]:
        """The processes that say nothing any more, and whether one of them told why."""
        try:
            store = _store()
            store.set(f"taco-kd/here/{self.rank}", "")
            time.sleep(LOOK_S)
            others = [rank for rank in range(self.world) if rank != self.rank]
            told = [rank for rank in others if store.check([f"taco-kd/told/{rank}"])]
            here = [rank for rank in others if store.check([f"taco-kd/here/{rank}"])]
        except Exception:  # it was kept by a process that is gone
            return [], False
        return [rank for rank in others if rank not in here], bool(told)


def _store() -> Any:
    """What torchrun keeps for its processes, and keeps on when one of them dies."""
    return dist.distributed_c10d._get_default_store()


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """In order, together about ``BUCKET_BYTES``, of one type."""
    found: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if found and (size > BUCKET_BYTES or gradient.dtype != found[0].dtype):
            yield found
            found, size = [], 0
        found.append(gradient)
        size += gradient.numel() * gradient.element_size()
    if found:
        yield found


def open_processes(device: torch.device) -> Processes:
    """The processes of this run; joins the others where ``torchrun`` started several.

    Args:
        device: that the settings ask for; several processes take one GPU each.

    Raises:
        MissingResourceError: this machine has fewer GPUs than processes.
    """
    if not launched():
        return Processes(device)
    from accelerate import PartialState

    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            error = MissingResourceError(
                f"process {local} of this machine has no GPU: it has {torch.cuda.device_count()}; start no "
                "more with torchrun --nproc_per_node, or train on the CPU with --device cpu"
            )
            error.silent = False
            raise error
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    normalise_by_own_boxes()
    state = PartialState(cpu=device.type == "cpu", timeout=timedelta(seconds=TIMEOUT_S))
    return Processes(device, state.process_index, state.num_processes)
