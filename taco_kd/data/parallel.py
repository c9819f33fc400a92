"""A map over processes that keeps order, reports progress and stops when it is told to."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from taco_kd.errors import TacoKDError
from taco_kd.progress import Tick

Job = TypeVar("Job")
Result = TypeVar("Result")

INLINE_BELOW = 64
"""With fewer jobs than this, starting processes costs more than it saves."""


def worker_count(workers: int, *, jobs: int) -> int:
    """Processes to use for ``jobs`` images: ``workers``, or one per usable core when that is 0."""
    if jobs < INLINE_BELOW:
        return 1
    if workers:
        return min(workers, jobs)
    return min(usable_cores(), jobs)


def usable_cores() -> int:
    """Cores that this process may run on."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return found or 1


def ordered_map(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    on_progress: Tick | None = None,
    note: str = "",
) -> list[Result]:
    """``function`` of each job, in the order of ``jobs``, so that the number of workers changes nothing.

    The processes are spawned: ``function`` must be importable from its module, and a script that gets here
    needs the usual ``if __name__ == "__main__":``.

    Raises:
        TacoKDError: a worker was killed, mostly for its memory. Errors of ``function`` come through.
    """
    results: list[Result] = []

    def collect(result: Result) -> None:
        results.append(result)
        if on_progress is not None:
            on_progress(len(results), len(jobs), note)

    count = worker_count(workers, jobs=len(jobs))
    if count == 1:
        for job in jobs:
            collect(function(job))
        return results
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=depend_on_the_parent)
    try:
        for result in pool.map(function, jobs, chunksize=4):
            collect(result)
    except BrokenProcessPool:
        raise TacoKDError("a worker process was killed, perhaps for its memory; try --workers 1") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return results


def depend_on_the_parent() -> None:
    """Leave interrupts to it, and end with it: a killed parent does not close the queue of jobs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
