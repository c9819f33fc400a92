"""Cells as trials of Ray Tune: on this machine, or on the cluster that RAY_ADDRESS names.

Ray kills a trial that is to end, so a stopped cell goes on from its last regular checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from taco_kd.errors import InterruptedRunError, MissingResourceError
from taco_kd.study.launchers import Launch
from taco_kd.study.work import Job, Result, do


def run_ray(jobs: Sequence[Job], launch: Launch) -> Iterator[Result]:
    """Run the jobs as one experiment; a :data:`taco_kd.study.launchers.Launcher`.

    Each trial has one GPU where the cluster has any, and its share of the processor cores.

    Raises:
        MissingResourceError: Ray Tune is not installed.
    """
    try:
        import ray
        from ray import tune
    except ImportError:
        raise MissingResourceError(
            "--launcher ray needs Ray Tune, which is not installed: pip install 'ray[tune]'"
        ) from None
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the study's own result
        if not ray.is_initialized():
            own = {} if "RAY_ADDRESS" in os.environ else {"include_dashboard": False}
            before = signal.getsignal(signal.SIGTERM)
            ray.init(log_to_driver=False, logging_level="ERROR", **own)
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray's own handler would end the program at once
        has = ray.cluster_resources()
        gpus, cores = int(has.get("GPU", 0)), int(has.get("CPU", 1))
        parallel = launch.parallel or max(1, gpus)
        threads = max(1, cores // parallel)
        share = {"cpu": threads, "gpu": min(1.0, gpus / parallel)}
        sent = [replace(job, threads=threads) for job in jobs]
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_trial, jobs=sent), share),
            param_space={"number": tune.grid_search(list(range(len(jobs))))},
            tune_config=tune.TuneConfig(max_concurrent_trials=parallel),
            run_config=tune.RunConfig(
                name=f"cells-{len(list((launch.logs / 'ray').glob('*')))}",
                storage_path=str((launch.logs / "ray").resolve()),
                stop=_stopper(launch.stop),
                verbose=0,
            ),
        )
        found = tuner.fit()
    for trial in found:
        number = (trial.config or {}).get("number")
        if number is not None:
            result = _result(jobs[number].id, trial, stopped=launch.stop.is_set())
            if result is not None:
                yield result


def _trial(config: dict[str, int], *, jobs: Sequence[Job]) -> None:
    from ray import tune

    tune.report(asdict(do(jobs[config["number"]])))


def _result(cell: str, trial: Any, *, stopped: bool) -> Result | None:
    metrics = trial.metrics or {}
    if "ending" in metrics:
        return Result(**{key: metrics[key] for key in Result.__dataclass_fields__})
    if stopped or trial.error is None:
        return Result(cell, "stopped", "stopped; the same command goes on", InterruptedRunError.exit_code)
    return Result(cell, "failed", f"Ray trial: {str(trial.error).strip().splitlines()[-1]}", 1)


def _stopper(stop: threading.Event) -> Any:
    from ray import tune

    class StopWithTheStudy(tune.Stopper):  # type: ignore[misc]
        """Ends the experiment when the study is told to end."""

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return stop.is_set()

        def __reduce__(self) -> Any:
            return tune.stopper.NoopStopper, ()  # Ray keeps a copy, which no event can be part of

    return StopWithTheStudy()
