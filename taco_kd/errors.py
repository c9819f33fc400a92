"""The exceptions a user can meet, each with its exit code.

Every message is one line that names the thing, the value received and what to do about it. The command
line prints it without a traceback (``--debug`` shows that) and exits with ``exit_code``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

Choice = TypeVar("Choice", bound=str)


class TacoKDError(Exception):
    """A run that failed for a reason we can name."""

    exit_code = 1
    silent: bool | None = None
    """of several processes of one run: whether another one tells it; None where that depends on the kind"""


class UsageError(TacoKDError):
    """Wrong flags or settings: an unknown recipe key, an output folder that holds another dataset."""

    exit_code = 2


class DataError(TacoKDError):
    """Input data that cannot be used: a missing file, JSON that is not COCO, a box outside its image."""

    exit_code = 3


class MissingResourceError(TacoKDError):
    """Weights or hardware that are not on this machine."""

    exit_code = 4


class GateError(TacoKDError):
    """A check that was asked to be strict said no: nothing was trained."""

    exit_code = 5


class InterruptedRunError(TacoKDError):
    """Stopped on request; what was done is on disk and the run can be resumed."""

    exit_code = 75


class DiskFullError(TacoKDError, OSError):
    """No room on the disk, or in the quota: nothing half-written is left, and the old file is whole."""


def one_of(what: str, value: object, choices: Iterable[object]) -> str:
    """Message for a value outside its valid choices.

    >>> one_of("source", "voc", ["coco", "taco"])
    "unknown source 'voc': choose one of coco, taco"
    """
    names = ", ".join(str(c) for c in choices)
    return f"unknown {what} {value!r}: choose one of {names}"


def chosen(what: str, value: str, choices: Iterable[Choice]) -> Choice:
    """``value`` as the one of ``choices`` that it is; UsageError names them all where it is none.

    >>> chosen("split", "val", ("train", "val"))
    'val'
    """
    choices = tuple(choices)
    for choice in choices:
        if choice == value:
            return choice
    raise UsageError(one_of(what, value, choices))
