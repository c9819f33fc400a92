"""One step of training: its gradients, one update, or a way back.

Randomness is a function of seed, step and process: nothing of it has to be saved, and a step that is done
again, after a crash or because memory was not enough, is the same step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from taco_kd.data.batch import Batch
from taco_kd.errors import TacoKDError
from taco_kd.progress import warn
from taco_kd.train.done import Done
from taco_kd.train.gradients import Gradients
from taco_kd.train.memory import give_back
from taco_kd.train.network import batch_norms
from taco_kd.train.processes import LostProcessError


class Stepper:
    """Does the steps of a run.

    Args:
        gradients: of the run, with whose state, settings and processes it works.
    """

    def __init__(self, gradients: Gradients) -> None:
        self._gradients, self._check, self._trained = gradients, gradients.check, gradients.trained
        self.state, self.config, self.processes = gradients.state, gradients.config, gradients.processes
        self._statistics = [
            b for norm in batch_norms(self.state.student) for b in norm.buffers(recurse=False)
        ]
        self._before = [buffer.clone() for buffer in self._statistics]

    def __call__(self, batch: Batch) -> Done:
        """Do the step of ``batch``, which are this process's images of it.

        Raises:
            TacoKDError: memory is not enough for a single image; or the check found a fault.
            LostProcessError: another process is gone; weights and optimiser are those before the step.
        """
        undo = self._undo()
        try:
            while (done := self._gradients(batch)) is None:
                undo()
                self._halve(len(batch.images))
            if done.finite:
                self._update(done)
        except LostProcessError:
            undo()  # so that a checkpoint can be written
            raise
        if not done.finite:
            undo()
        self.state.optimizer.zero_grad(set_to_none=True)
        return done

    def _undo(self) -> Callable[[], None]:
        """A way back to the batch-norm statistics and measured norms of this moment."""
        if self._statistics:
            torch._foreach_copy_(self._before, self._statistics)
        distiller = self.state.distiller
        measured = None if distiller is None else distiller.weighting.measured()

        def undo() -> None:
            self.state.optimizer.zero_grad(set_to_none=True)
            if self._statistics:
                torch._foreach_copy_(self._statistics, self._before)
            if distiller is not None and measured is not None:
                distiller.weighting.set_extra_state(measured)

        return undo

    def _update(self, done: Done) -> None:
        state = self.state
        if state.scaler is not None:
            state.scaler.unscale_(state.optimizer)
        if self._check is not None:
            named = state.student.named_parameters()
            self.processes.guarded(self._check.gradients, named, step=state.step + 1)
        norm = float(nn.utils.clip_grad_norm_(self._trained, self.config.clip_norm))
        done.overflow = state.scaler is not None and not math.isfinite(norm)
        done.finite = math.isfinite(norm) or done.overflow
        if not done.finite:
            return
        if state.scaler is None:
            state.optimizer.step()
        else:
            state.scaler.step(state.optimizer)  # which does nothing after an overflow
            state.scaler.update()
        if not done.overflow:
            done.grad_norm = norm
            if state.ema is not None:
                state.ema.update_parameters(state.student)

    def _halve(self, share: int) -> None:
        """Half as many images at a time; the gradients of the step stay what they are."""
        state = self.state
        size = min(state.micro_batch or share, share)
        size = int(max(self.processes.everyone(float(size))))
        if size == 1:
            raise TacoKDError(
                f"step {state.step + 1}: out of memory with a single image at a time; set a smaller "
                "student.image_size or model, train.precision=bf16, or take a larger device"
            )
        state.micro_batch = -(-size // 2)
        give_back(self.processes.device)
        if self.processes.first:
            warn(
                f"out of memory at step {state.step + 1}: {state.micro_batch} images at a time from now on, "
                "their gradients summed to the same batch"
            )
