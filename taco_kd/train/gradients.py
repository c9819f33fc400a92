"""The gradients of one step of training: summed over its micro-batches and over all processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from torch import Tensor

from taco_kd.config import TrainConfig
from taco_kd.data.batch import Batch
from taco_kd.distill.distiller import DistillTerms
from taco_kd.distill.weighting import DETECTION
from taco_kd.train.done import Done, summed
from taco_kd.train.forward import Forward, Part
from taco_kd.train.memory import at_any_cost, unless_short
from taco_kd.train.network import guard_single_images, train_mode
from taco_kd.train.processes import Processes
from taco_kd.train.seeding import seed_step
from taco_kd.train.selfcheck import SelfCheck
from taco_kd.train.state import TrainState
from taco_kd.train.sync_batch_norm import gradients_alone, is_synchronised
from taco_kd.types import total

MEASURE_EVERY = 100
"""Gradient shares are measured in the first step and in every so many; to measure a term costs about as much
as half a step."""


class Gradients:
    """Sums the gradients of a run's steps, into ``grad`` of what the optimiser trains.

    Args:
        state: what is trained.
        labels: whether the detection loss is part of the sum.
        check: looks at the teachers' answers; whoever updates has it look at the gradients.
        stopping: whether this process was asked to stop.
    """

    def __init__(
        self,
        state: TrainState,
        config: TrainConfig,
        processes: Processes,
        *,
        steps_total: int,
        labels: bool = True,
        check: SelfCheck | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.state, self.config, self.processes, self.check = state, config, processes, check
        self._steps_total, self._stopping = steps_total, stopping
        self._forward = Forward(state, config, processes.device, labels=labels, check=check)
        self._synchronised = is_synchronised(state.student)
        pairs = state.distiller is not None and any(
            lesson.needs_predictions for lesson in state.distiller.each()
        )
        self._told_by_predictions = pairs or (labels and state.student.divides_by_predictions)
        self._unless_short = partial(processes.guarded, at_any_cost) if self._synchronised else unless_short
        if not config.compile:  # which has a backward pass of its own
            guard_single_images(state.student)
        self.trained = [p for group in state.optimizer.param_groups for p in group["params"]]

    def __call__(self, batch: Batch) -> Done | None:
        """Add them; None where memory was not enough in some process.

        Raises:
            LostProcessError: another process is gone.
        """
        state = self.state
        seed_step(self.config.seed, state.step, self.processes.rank, self.processes.device)
        train_mode(state.student, self.config)
        images, boxes = self._sizes(batch)
        numbers: list[dict[str, Tensor]] = []
        said: DistillTerms | None = None
        norms: Mapping[str, float] | None = None
        short = False
        for place, some in enumerate(self._parts(batch)):
            found = self._shared(self._unless_short(partial(self._forward, some, images, boxes)))
            if place == 0 and self._measures():
                norms = self._norms(found)
                short = norms is None
            if found is None or short:
                short = True
                break
            said = self._weigh(found, norms)
            terms, values = _weighed(found, said)
            del found  # maps that the backward pass needs no more would take memory until its end
            if self._unless_short(partial(self._backward, terms)) is None:
                short = True
                break
            numbers.append(values)
        asked = [float(short), float(self._stopping()), float(len(batch.quarantined))]
        short_anywhere, stop, unreadable = self.processes.sums(asked)
        if short_anywhere:
            return None
        done = summed(numbers, self.processes)
        if said is not None:
            done.weights, done.gradient_shares = said.weights, said.gradient_shares
        done.stop = bool(stop)
        if unreadable:
            everyone = self.processes.collect(batch.quarantined)
            done.quarantined = tuple(dict.fromkeys(file for files in everyone for file in files))
        if done.finite:
            self.processes.sum_gradients(self.trained)
        return done

    def _measures(self) -> bool:
        distiller, step = self.state.distiller, self.state.step
        return distiller is not None and (step % MEASURE_EVERY == 0 or distiller.weighting.wants_norms(step))

    def _sizes(self, batch: Batch) -> tuple[float, float]:
        """Images of the step, and what its detection loss is divided by, over all processes."""
        own = self.state.student.normaliser(batch.targets)
        images, boxes = self.processes.sums([float(len(batch.images)), own])
        return images, max(1.0, boxes)

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        count = len(batch.images)
        size = self.state.micro_batch or count
        if self._synchronised:  # whose forward passes meet: as many in all processes
            parts = int(max(self.processes.everyone(float(-(-count // size)))))
            for part in range(parts):
                yield batch.part(count * part // parts, count * (part + 1) // parts)
            return
        if size >= count:
            yield batch
            return
        for start in range(0, count, size):
            yield batch.part(start, start + size)

    def _shared(self, found: Part | None) -> Part | None:
        """``found`` with its shares by what the losses were divided by, where only predictions tell that.

        None where memory was not enough in some process. Not with micro-batches, of which the last would
        have to be seen before the first gradient.
        """
        if self.processes.world == 1 or self.state.micro_batch is not None or not self._told_by_predictions:
            return found
        if self.processes.sums([float(found is None)])[0] or found is None:
            return None
        own = found.divisors()
        return found.counted(own, self.processes.sums(own))

    def _norms(self, found: Part | None) -> Mapping[str, float] | None:
        """Gradient norms over all processes, taken in by the weighting; None: out of memory.

        The maps of the processes are parts of one batch, so squares add up: each term's gradient there is
        its share of that in the whole.
        """
        distiller = self.state.distiller
        assert distiller is not None
        norms = None
        if found is not None and found.compared is not None:
            with gradients_alone():
                norms = self._unless_short(partial(distiller.norms, found.compared, found.output))
        if self.processes.sums([float(norms is None)])[0] or norms is None or found is None:
            return None
        if self.processes.world > 1:
            shares = dict.fromkeys(norms, found.image_share) | {DETECTION: found.detection_share}
            squares = self.processes.sums([(shares[name] * norm) ** 2 for name, norm in norms.items()])
            norms = {name: math.sqrt(square) for name, square in zip(norms, squares, strict=True)}
        distiller.weighting.observe(norms)
        return norms

    def _weigh(self, found: Part, norms: Mapping[str, float] | None) -> DistillTerms | None:
        if self.state.distiller is None or found.compared is None:
            return None
        return self.state.distiller.weigh(
            found.compared, step=self.state.step, steps_total=self._steps_total, norms=norms
        )

    def _backward(self, terms: Mapping[str, Tensor]) -> bool:
        """Add the gradients of a micro-batch. Waits for nothing."""
        loss = total(terms)
        if self.state.scaler is not None:
            loss = self.state.scaler.scale(loss)
        loss.backward()  # type: ignore[no-untyped-call]
        return True


def _weighed(found: Part, said: DistillTerms | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The terms of a micro-batch as they enter the sum, and the numbers of the log, by name."""
    terms = {name: found.detection_share * term for name, term in found.output.losses.items()}
    if said is not None:
        terms |= {name: found.image_share * term for name, term in said.weighted.items()}
    numbers = {f"term {name}": term.detach() for name, term in terms.items()}
    if said is not None:
        numbers |= {f"raw {name}": found.image_share * term.detach() for name, term in said.raw.items()}
        numbers["pairs"] = next(iter(numbers.values())).new_tensor(float(said.pairs))
    return terms, numbers
