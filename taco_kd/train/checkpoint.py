"""Checkpoints: written aside, renamed, and read without unpickling code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from taco_kd.errors import DataError
from taco_kd.files import replacing
from taco_kd.train.state import TrainState

NAME = "state.pt"


def save(folder: Path, state: TrainState) -> None:
    """Write everything a resume needs: weights, average, optimiser, projections, step, random state."""
    values: dict[str, Any] = {
        "step": state.step,
        "student": state.student.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "ema": state.ema.state_dict() if state.ema is not None else None,
        "distiller": state.distiller.state_dict() if state.distiller is not None else None,
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with replacing(folder / NAME) as aside:
        torch.save(values, aside)


def exists(folder: Path) -> bool:
    return (folder / NAME).is_file()


def restore(folder: Path, state: TrainState) -> None:
    """Fill ``state`` from the checkpoint in ``folder``.

    Raises:
        DataError: it is damaged, or of another model.
    """
    path = folder / NAME
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        state.student.load_state_dict(values["student"])
        state.optimizer.load_state_dict(values["optimizer"])
        if state.ema is not None:
            state.ema.load_state_dict(values["ema"])
        if state.distiller is not None:
            state.distiller.load_state_dict(values["distiller"])
        state.step = int(values["step"])
        torch.set_rng_state(values["rng"])
        if torch.cuda.is_available() and values["cuda_rng"]:
            torch.cuda.set_rng_state_all(values["cuda_rng"])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a usable checkpoint ({reason}); start anew with --overwrite") from None
