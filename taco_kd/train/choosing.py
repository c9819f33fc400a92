"""What a run decides from what it sees: evaluations on the way, the weights it keeps, when it ends early.

The images are training images that were put aside, so that the split that results are reported on takes no
part in a choice; or that split, where it is asked for, and then the record says so.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from typing import Any, TypeVar

from taco_kd.config import TrainConfig
from taco_kd.errors import DataError
from taco_kd.files import replacing
from taco_kd.models import zoo
from taco_kd.models.detector import Detector
from taco_kd.models.weights import save_model, weights_hash
from taco_kd.progress import Tick
from taco_kd.runs import RunDir
from taco_kd.train import evaluations
from taco_kd.train.evaluations import Evaluated, best_of, since_best
from taco_kd.train.look import Look

T = TypeVar("T")


class _StoppedError(Exception):
    """The process was asked to stop in the middle of an evaluation."""


Decide = Callable[[Callable[[], T]], T]
"""Calls what it is given in one process and returns the answer in all of them."""


def alone(question: Callable[[], T]) -> T:
    """The decision of a run of one process."""
    return question()


def chooses(config: TrainConfig) -> bool:
    """Whether anything of the run depends on evaluations."""
    return config.keep == "best" or config.patience is not None


class Chooser:
    """Evaluates a model every so many steps, and says which weights to keep and whether to go on.

    Args:
        run: where evaluations and the best weights are written.
        look: evaluates; None where nothing is evaluated.
        interval: steps between two evaluations; the last step is always one.
        decide: see ``Decide``; in a run of several processes each of them calls the same methods, and one
            evaluates and writes.
    """

    def __init__(
        self,
        run: RunDir,
        config: TrainConfig,
        look: Look | None,
        interval: int | None,
        *,
        decide: Decide[Any] = alone,
    ) -> None:
        self._run, self._config, self._look, self._decide = run, config, look, decide
        self._interval = interval if look is not None else None
        self._saved: int | None = None
        self._kept_at_save: Evaluated | None = None
        self.evaluations: list[Evaluated] = []

    @property
    def chooses(self) -> bool:
        """Whether anything depends on the evaluations."""
        return chooses(self._config)

    def begin(self, step: int) -> None:
        """Before the first step (0), or with what was found up to the checkpoint that is resumed from."""

        def kept() -> list[Evaluated]:
            found = evaluations.read(self._run, up_to=step) if step else []
            if found or self._run.evaluations_file.exists():
                evaluations.write(self._run, found)
            return found

        self.evaluations = self._decide(kept)
        self._saved, self._kept_at_save = step, best_of(self.evaluations)

    def due(self, step: int, steps_total: int) -> bool:
        """Whether the model is to be evaluated after that step; once evaluated, it is not."""
        if self._interval is None or step == 0 or (self.evaluations and self.evaluations[-1].step >= step):
            return False
        return step % self._interval == 0 or step == steps_total

    def evaluate(
        self, model: Detector, step: int, on_progress: Tick, stopping: Callable[[], bool]
    ) -> Evaluated | None:
        """Look at the model, write down what was found, and keep its weights where they are the best.

        Returns:
            None where the process that evaluates was asked to stop: the evaluation is still due.
        """

        def tick(done: int, total: int, note: str = "") -> None:
            if stopping():
                raise _StoppedError
            on_progress(done, total, note)

        def question() -> Evaluated | None:
            with contextlib.suppress(_StoppedError):
                return self._evaluate(model, step, tick)
            return None

        found: Evaluated | None = self._decide(question)
        if found is not None:
            self.evaluations.append(found)
        return found

    def ends(self) -> bool:
        """Whether ``patience`` is at its end."""
        return self._config.patience is not None and since_best(self.evaluations) >= self._config.patience

    def saved(self, step: int) -> None:
        """After a checkpoint of ``step``: drop weights that neither it nor the one before goes back to."""
        if self._config.keep != "best" or step == self._saved:
            return
        self._saved = step
        now = best_of(self.evaluations)
        needed = {self._run.best_file(each.step) for each in (now, self._kept_at_save) if each is not None}
        self._kept_at_save = now

        def drop() -> None:
            for file in self._run.best_dir.glob("*.safetensors"):
                if file not in needed:
                    file.unlink(missing_ok=True)

        self._decide(drop)

    def deliver(self, model: Detector) -> Evaluated | None:
        """Write the result of the run: ``model``, or the best there was, whose evaluation is returned.

        Raises:
            DataError: the file of the best weights is gone or damaged.
        """
        best = best_of(self.evaluations) if self._config.keep == "best" else None
        if best is None:
            save_model(self._run.model_file, model)
            return None
        file = self._run.best_file(best.step)
        if not file.is_file():
            raise DataError(f"{file}: the best weights of the run are gone; start anew with --overwrite")
        if weights_hash(zoo.load(file).network) != best.weights_hash:
            raise DataError(f"{file}: is not what was evaluated at step {best.step}; start anew")
        with replacing(self._run.model_file) as aside:
            shutil.copyfile(file, aside)
        return best

    def record(self) -> dict[str, Any]:
        """For the run's record: ``chosen_on`` is None where nothing was chosen."""
        best = best_of(self.evaluations)
        return {
            "chosen_on": self._config.choose_on if self.chooses else None,
            "stopped_early": self.ends(),
            "evaluations": {
                "on": None if self._look is None else self._config.choose_on,
                "images": 0 if self._look is None else self._look.images,
                "every_steps": self._interval,
                "count": len(self.evaluations),
                "best_step": best and best.step,
                "best_ap": best and best.ap,
            },
        }

    def _evaluate(self, model: Detector, step: int, on_progress: Tick) -> Evaluated:
        assert self._look is not None
        began = time.monotonic()
        metrics = self._look(model, step, on_progress)
        before = best_of(self.evaluations)
        ap = metrics.ap or 0.0
        found = Evaluated(
            step=step,
            ap=ap,
            ap50=metrics.ap50 or 0.0,
            images=metrics.images,
            seconds=round(time.monotonic() - began, 3),
            weights_hash=weights_hash(model.network),
            best=before is None or ap > before.ap,
        )
        if found.best and self._config.keep == "best":
            save_model(self._run.best_file(step), model)
        evaluations.append(self._run, found)
        return found
