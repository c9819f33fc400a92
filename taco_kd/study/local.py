"""Cells on this machine: each in a process of its own, several side by side, each with its own GPU.

A process a cell, so that one that is killed for its memory takes no other with it.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import NoReturn

from taco_kd.errors import InterruptedRunError
from taco_kd.signals import STOP_SIGNALS
from taco_kd.study.launchers import Launch
from taco_kd.study.work import Job, Result, do

_POLL_SECONDS = 0.2


def run_local(jobs: Sequence[Job], launch: Launch) -> Iterator[Result]:
    """Run the jobs; a :data:`taco_kd.study.launchers.Launcher`.

    Without a number, one cell a GPU, or one at a time where there is none. Processor cores are shared out.
    """
    gpus = visible_gpus()
    parallel = launch.parallel or max(1, len(gpus))
    threads = max(1, (os.cpu_count() or 1) // parallel) if parallel > 1 else None
    slots: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for number in range(parallel):
        slots.put(gpus[number % len(gpus)] if gpus else None)

    def run(job: Job) -> Result | None:
        if launch.stop.is_set():
            return None
        device = slots.get()
        try:
            return _in_process(replace(job, threads=threads, devices=device), launch)
        finally:
            slots.put(device)

    with ThreadPoolExecutor(parallel, thread_name_prefix="cell") as pool:
        waiting = {pool.submit(run, job) for job in jobs}
        try:
            while waiting:
                # With a time limit, so that the main thread sees signals.
                ready, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in ready:
                    result = future.result()
                    if result is not None:
                        yield result
        except BaseException:
            launch.stop.set()  # the executor waits for its threads, and they for their processes
            raise


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES can be set to for one GPU each; empty without CUDA."""
    import torch

    count = torch.cuda.device_count()
    said = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return said[:count] if said else [str(number) for number in range(count)]


def _in_process(job: Job, launch: Launch) -> Result:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    log = launch.logs / f"{job.id}.log"
    process = context.Process(target=_child, args=(job, sender, str(log)), name=job.id)
    if hasattr(signal, "pthread_sigmask"):
        # The child begins with these signals held back, until it knows what to do about them.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    process.start()
    sender.close()
    result, told = None, False
    with receiver:
        while True:
            if launch.stop.is_set() and not told:
                process.terminate()
                told = True
            if not receiver.poll(_POLL_SECONDS):
                continue
            try:
                message = receiver.recv()
            except EOFError:
                break
            if isinstance(message, Result):
                result = message
            else:
                launch.on_step(job.id, *message)
    process.join()
    if result is not None:
        return result
    if told:
        return Result(job.id, "stopped", "stopped before it began", InterruptedRunError.exit_code)
    code = process.exitcode or 0
    how = f"killed by signal {-code}, perhaps for its memory" if code < 0 else f"ended with exit code {code}"
    return Result(job.id, "failed", f"its process was {how}; see {log}", 1)


def _child(job: Job, sender: Connection, log: str) -> None:
    """What the process of a cell runs."""
    for number in STOP_SIGNALS:
        signal.signal(number, _stopped)
    _print_to(Path(log))
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    last = 0.0

    def tick(done: int, total: int, note: str = "") -> None:
        nonlocal last
        if time.monotonic() - last > _POLL_SECONDS or done == total:
            last = time.monotonic()
            _send(sender, (done, total, note))

    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        result = do(job, tick)
    except InterruptedRunError as error:
        result = Result(job.id, "stopped", str(error), error.exit_code)
    _send(sender, result)


def _stopped(*_: object) -> NoReturn:
    raise InterruptedRunError("stopped; the same command goes on from there")


def _send(sender: Connection, message: object) -> None:
    with suppress(OSError):  # the study was killed; _end_with_the_parent ends this process too
        sender.send(message)


def _print_to(log: Path) -> None:
    """Send what this process prints to a file: the terminal belongs to the study."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        for target in (sys.stdout, sys.stderr):
            target.flush()
            os.dup2(stream.fileno(), target.fileno())


def _end_with_the_parent() -> None:
    """When the study is killed, stop as if asked to: with a checkpoint."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
