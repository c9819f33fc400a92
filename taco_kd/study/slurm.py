"""Cells as Slurm jobs, by submitit: one array of jobs for each group of cells that can run side by side."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from taco_kd.errors import InterruptedRunError, MissingResourceError
from taco_kd.study.config import SlurmConfig
from taco_kd.study.launchers import Launch
from taco_kd.study.work import Job, Result, do

_POLL_SECONDS = {"slurm": 5.0, "local": 0.2}
_CANCEL_SECONDS = 120.0


@dataclass(frozen=True)
class Requeued:
    """A job that submitit puts in the queue again when its time is over or it is preempted.

    The run goes on from its last checkpoint.
    """

    job: Job

    def __call__(self) -> Result:
        return do(self.job)

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run_slurm(jobs: Sequence[Job], launch: Launch) -> Iterator[Result]:
    """Submit the jobs and wait for them; a :data:`taco_kd.study.launchers.Launcher`.

    Raises:
        MissingResourceError: submitit is not installed, or this machine has no ``sbatch``.
    """
    executor = _executor(launch)
    # Slurm limits an array itself; its stand-in would start everything at once.
    size = len(jobs) if launch.slurm.cluster == "slurm" else launch.parallel or 1
    for start in range(0, len(jobs), size):
        if launch.stop.is_set():
            return
        with executor.batch():
            handles = {executor.submit(Requeued(job)): job for job in jobs[start : start + size]}
        yield from _results(handles, launch)


def _executor(launch: Launch) -> Any:
    try:
        import submitit
    except ImportError:
        raise MissingResourceError(
            "--launcher slurm needs submitit, which is not installed: pip install 'taco-kd[study]'"
        ) from None
    settings = launch.slurm
    if settings.cluster == "slurm" and shutil.which("sbatch") is None:
        raise MissingResourceError(
            "--launcher slurm: there is no sbatch here; run it on a login node of the cluster, or use "
            "--launcher local"
        )
    executor = submitit.AutoExecutor(folder=launch.logs / "slurm", cluster=settings.cluster)
    executor.update_parameters(**_parameters(settings, launch.parallel))
    return executor


def _parameters(settings: SlurmConfig, parallel: int | None) -> dict[str, Any]:
    wanted = {
        "name": "taco-kd",
        "timeout_min": settings.timeout_min,
        "gpus_per_node": settings.gpus or None,
        "cpus_per_task": settings.cpus,
        "mem_gb": settings.mem_gb,
        "slurm_partition": settings.partition,
        "slurm_account": settings.account,
        "slurm_qos": settings.qos,
        "slurm_constraint": settings.constraint,
        "slurm_setup": list(settings.setup) or None,
        "slurm_array_parallelism": parallel,
    }
    return {key: value for key, value in wanted.items() if value is not None}


def _results(handles: dict[Any, Job], launch: Launch) -> Iterator[Result]:
    waiting = dict(handles)
    cancelled_at = None
    while waiting:
        if launch.stop.is_set() and cancelled_at is None:
            for handle in waiting:
                handle.cancel()  # the cell gets a signal and writes a checkpoint
            cancelled_at = time.monotonic()
        for handle, job in list(waiting.items()):
            if handle.done():
                del waiting[handle]
                yield _result(handle, job, stopped=cancelled_at is not None)
        if cancelled_at is not None and time.monotonic() - cancelled_at > _CANCEL_SECONDS:
            return  # the cluster will end them in its own time
        if waiting:
            time.sleep(_POLL_SECONDS[launch.slurm.cluster])


def _result(handle: Any, job: Job, *, stopped: bool) -> Result:
    try:
        found: Result = handle.result()
    except Exception as error:  # the job died without a result; submitit's text ends with its log
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = f"Slurm job {handle.job_id}: {lines[-1].strip() if lines else type(error).__name__}"
        if stopped:
            return Result(job.id, "stopped", reason, InterruptedRunError.exit_code)
        return Result(job.id, "failed", f"{reason}; see {handle.paths.stderr}", 1)
    return found
