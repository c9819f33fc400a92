"""What the trainer tells, written down as the log, the evaluations and the record of an ordinary run."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

from taco_kd.progress import Tick
from taco_kd.runs import DataDir, RunDir, Split
from taco_kd.train import evaluations
from taco_kd.train.evaluations import Evaluated, best_of
from taco_kd.train.log_file import LogFile, cut
from taco_kd.train.loop import StepRecord, finite_or_none
from taco_kd.train.observers import Observers
from taco_kd.train.stopping import StopRequests
from taco_kd.train.vendor.arguments import Plan
from taco_kd.train.vendor.child import read_resume
from taco_kd.train.vendor.process import listen


def follow(
    run: RunDir,
    record: dict[str, Any],
    job: dict[str, Any],
    planned: Plan,
    stop: StopRequests,
    on_progress: Tick | None,
    observers: Observers,
    look: tuple[DataDir, Split] | None,
) -> bool:
    """Listen until the trainer has ended (True) or a stop was asked for (False); ``record`` is kept up."""
    if job["resume"] and (saved := read_resume(run.vendor_dir))["stop"]:
        return _ended(run, record, planned, saved["epoch"] + 1, look)
    images = len(look[0].coco(look[1])["images"]) if look is not None else 0
    batch, total = planned.arguments["batch"], planned.steps_total
    before, began = (
        record["seconds"] if not job["resume"] else run.record().get("seconds", 0.0),
        time.monotonic(),
    )
    found: list[Evaluated] = []
    ended = False
    log: LogFile | None = None
    with stop.after_the_step():
        try:
            for told in listen(job, run.vendor_dir, lambda: stop.requested):
                record["seconds"] = before + time.monotonic() - began
                if told["event"] == "begin":
                    done = told["epoch"] * told["batches"]
                    cut(run, done)
                    found = evaluations.read(run, up_to=done) if done else []
                    evaluations.write(run, found)
                    record.update(steps=done, epochs=told["epoch"], evaluations=_summary(found, look, images))
                    run.write_record(record)
                    observers.begin(run, record, done, total)
                    log = LogFile(run.log_file)
                elif told["event"] == "step":
                    step = _step(told, batch)
                    assert log is not None
                    log.write({k: v for k, v in asdict(step).items() if k != "grad_norm"})
                    record["steps"] = told["step"]
                    if on_progress is not None:
                        on_progress(step.step, total, f"loss {step.loss:.2f}")
                    observers.on_step(step)
                elif told["event"] == "epoch":
                    record["epochs"] = told["epoch"] + 1
                    if "ap" in told:
                        each = _evaluated(told, record["steps"], images)
                        evaluations.append(run, each)
                        found.append(each)
                        observers.on_evaluated(each)
                    early = told["stop"] and record["epochs"] < planned.epochs
                    record.update(stopped_early=early, evaluations=_summary(found, look, images))
                    run.write_record(record)
                else:
                    ended = True
        finally:
            if log is not None:
                log.__exit__(None, None, None)
    if not ended:
        record.update(status="stopped", steps=record["epochs"] * planned.batches)
        run.write_record(record)
    return ended


def _ended(
    run: RunDir, record: dict[str, Any], planned: Plan, epochs: int, look: tuple[DataDir, Split] | None
) -> bool:
    """The trainer was done when the run was killed, and only the end of the record is missing."""
    before, found = run.record(), evaluations.read(run)
    images = int((before.get("evaluations") or {}).get("images") or 0)
    record.update(
        seconds=before.get("seconds", 0.0),
        steps=epochs * planned.batches,
        epochs=epochs,
        stopped_early=epochs < planned.epochs,
        evaluations=_summary(found, look, images),
    )
    return True


def _step(told: dict[str, Any], batch: int) -> StepRecord:
    terms = told["terms"]
    loss = sum(terms.values())
    return StepRecord(
        step=told["step"],
        loss=finite_or_none(loss),
        lr=told["lr"],
        grad_norm=math.nan,  # which it does not tell
        images_per_s=batch / max(told["step_s"], 1e-9),
        terms={name: finite_or_none(value) for name, value in terms.items()},
        raw={},
        weights={},
        pairs=0,
        gradient_shares=None,
        data_wait_s=told["data_wait_s"],
        step_s=told["step_s"],
        memory_mb=told["memory_mb"],
        skipped=not math.isfinite(loss),
        micro_batch=batch,
        quarantined=(),
    )


def _evaluated(told: dict[str, Any], step: int, images: int) -> Evaluated:
    """By the trainer's own evaluator, which is not ours."""
    return Evaluated(step, told["ap"], told["ap50"], images, 0.0, "", told["best"])


def _summary(found: list[Evaluated], look: tuple[DataDir, Split] | None, images: int) -> dict[str, Any]:
    best = next((each for each in reversed(found) if each.best), None) or best_of(found)
    return {
        "on": None if look is None else "val" if look[1] == "val" else "hold-out",
        "images": images,
        "by": "ultralytics",
        "count": len(found),
        "best_step": best and best.step,
        "best_ap": best and best.ap,
    }
