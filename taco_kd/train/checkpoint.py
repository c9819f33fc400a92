"""Checkpoints: named by step and hash of their bytes, two of them kept, and read without any pickle.

A file gets its name in one rename, so contents and hash can never disagree; and since the one before stays,
damage to the last costs some steps and not the run.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from taco_kd.errors import DataError, DiskFullError
from taco_kd.files import replacing, sha256_file, sweep
from taco_kd.progress import warn
from taco_kd.runs import RunDir
from taco_kd.train.packing import Packer, unpack
from taco_kd.train.state import TrainState

FORMAT = "taco-kd checkpoint/2"
_NAME = re.compile(r"(\d{9})-([0-9a-f]{64})\.safetensors")


def save(folder: Path, state: TrainState, beside: Mapping[str, object] | None = None) -> None:
    """Write all that ``state`` holds and, with it, ``beside``: numbers, strings and containers of them.

    Of the checkpoints that were there, the newest of an earlier step stays. Where there is no room for three
    at a time, the older of two goes first.

    Raises:
        DiskFullError: there is no room; the last checkpoint is still there.
    """
    packer = Packer()
    packed = json.dumps(packer.pack({"state": _values(state), "beside": dict(beside or {})}))
    try:
        _write(folder, state.step, packer, packed)
    except DiskFullError:
        if not (older := _found(folder)[1:]):
            raise
        for path in older:
            path.unlink()
        _write(folder, state.step, packer, packed)
    newest, *others = _found(folder)
    kept = next((path for path in others if path.name[:9] < newest.name[:9]), None)
    for path in others:
        if path != kept:
            path.unlink(missing_ok=True)


def _write(folder: Path, step: int, packer: Packer, packed: str) -> None:
    needs = sum(t.numel() * t.element_size() for t in packer.tensors.values()) + len(packed)
    place = folder / f"{step:09d}"
    with replacing(
        place, needs_bytes=needs, named=lambda aside: f"{place.name}-{sha256_file(aside)}.safetensors"
    ) as aside:
        save_file(packer.tensors, str(aside), metadata={"format": FORMAT, "packed": packed})


def exists(folder: Path) -> bool:
    """Whether there is a checkpoint, sound or not."""
    return bool(_found(folder))


def remove(folder: Path) -> None:
    """Remove the checkpoints of a run that needs none any more, and what killed processes left of theirs."""
    for path in _found(folder):
        path.unlink(missing_ok=True)
    sweep(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def clear(run: RunDir) -> None:
    """Remove what a finished run needs no more: checkpoints, and weights that were best on the way."""
    remove(run.checkpoint_dir)
    shutil.rmtree(run.best_dir, ignore_errors=True)


def restore(folder: Path, state: TrainState) -> dict[str, Any]:
    """Fill ``state`` from the last checkpoint in ``folder``, or from the one before where that is damaged.

    A damaged one is removed, after a line that names it, once another has been read.

    Returns:
        What was saved beside the state.

    Raises:
        DataError: all are damaged, or they are of another model.
    """
    sweep(folder)
    damaged: list[tuple[Path, str]] = []
    for path in _found(folder):
        try:
            values = _read(path)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            damaged.append((path, (str(error) or type(error).__name__).splitlines()[0]))
            continue
        _fill(path, state, values["state"])
        for bad, why in damaged:
            warn(f"{bad}: damaged ({why}); going on from the checkpoint before it, of step {state.step}")
            bad.unlink(missing_ok=True)
        return dict(values["beside"])
    if not damaged:
        raise DataError(f"{folder}: holds no checkpoint; start anew with --overwrite")
    path, why = damaged[0]
    others = f"; {damaged[1][0].name[:9]} of it is damaged too" if damaged[1:] else ""
    raise DataError(f"{path}: not a usable checkpoint ({why}){others}; start anew with --overwrite")


def _found(folder: Path) -> list[Path]:
    """The checkpoints, newest first."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_file())
    return sorted(found, reverse=True)


def _read(path: Path) -> dict[str, Any]:
    named = _NAME.fullmatch(path.name)
    if named is None or sha256_file(path) != named[2]:
        raise ValueError("its bytes are not those that were written")
    with safe_open(str(path), framework="pt") as stored:
        metadata = stored.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError(f"not of the format {FORMAT!r}")
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
        values = unpack(json.loads(metadata["packed"]), tensors)
    if not isinstance(values, dict) or not {"state", "beside"} <= values.keys():
        raise ValueError("it holds something else")
    return values


def _values(state: TrainState) -> dict[str, Any]:
    """Each field of the state; of an object with a state of its own, that."""
    held = {field.name: getattr(state, field.name) for field in fields(state)}
    return {name: value.state_dict() if _stateful(value) else value for name, value in held.items()}


def _stateful(value: object) -> bool:
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


def _fill(path: Path, state: TrainState, values: Mapping[str, Any]) -> None:
    try:
        for field in fields(state):
            own, kept = getattr(state, field.name), values[field.name]
            if not _stateful(own):
                setattr(state, field.name, kept)
            elif kept is None:
                raise ValueError(f"it has no {field.name}")
            else:
                own.load_state_dict(kept)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: is of another model or version ({reason}); start anew") from None
    _as_laid_out(state.optimizer)


@torch.no_grad()
def _as_laid_out(optimizer: torch.optim.Optimizer) -> None:
    """Give the optimiser's averages the memory layout of their parameters: that decides how they are summed,
    and so the last bit."""
    for parameter, averages in optimizer.state.items():
        for name, value in averages.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                averages[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
