"""What a process that loads images does about signals, and about the end of the training process.

A stop is the training process's to handle: it finishes its step, for which it may still need a batch. So a
SIGINT or SIGTERM that reaches the whole group of processes must not end the loading ones, but one that the
training process sends them must.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

from taco_kd.data.parallel import depend_on_the_parent

METHOD = "forkserver" if sys.platform == "linux" else "spawn"
"""How loading processes start. A fork of the training process would inherit locks that its other threads
hold. A server that has imported what is needed, once, forks them in no time; elsewhere each imports anew."""

_STOPS = (signal.SIGINT, signal.SIGTERM)
_CAN_MASK = hasattr(signal, "pthread_sigmask")
_CAN_TELL_SENDERS = hasattr(signal, "sigwaitinfo")  # Linux; elsewhere a SIGTERM ends a loading process


def warm_up() -> None:
    """Begin now, in the background, with what takes time before the first loading process can start."""
    if METHOD == "forkserver":
        with held_back():
            multiprocessing.set_forkserver_preload(["taco_kd.data.loading"])
            forkserver.ensure_running()


@contextmanager
def held_back() -> Iterator[None]:
    """Processes that start in the block take no SIGINT and SIGTERM until ``begin`` says how.

    Both are held back here, not lost, and so in the processes from their first instruction on. And a death
    among them is found when their batch is waited for, not by an exception in the middle of a step.
    """
    if not _CAN_MASK:
        yield
        return
    resource_tracker.ensure_running()  # which would let both signals through again
    in_main = threading.current_thread() is threading.main_thread()
    on_death = signal.getsignal(signal.SIGCHLD)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        if in_main and on_death is not None:
            signal.signal(signal.SIGCHLD, on_death)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin(_number: int) -> None:
    """The first thing that a loading process does."""
    warnings.simplefilter("ignore")  # what is wrong with an image is told by the training process
    depend_on_the_parent()
    if _CAN_TELL_SENDERS:
        threading.Thread(target=_heed_the_parent_alone, daemon=True).start()
    elif _CAN_MASK:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


def _heed_the_parent_alone() -> None:
    """Take the SIGTERMs, which every thread blocks, and end on one that the training process sends."""
    parent = multiprocessing.parent_process()
    while True:
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
        if parent is not None and sender == parent.pid:
            os._exit(0)
