"""The process in which Ultralytics trains: it may change what it likes there, and tells in lines of JSON.

Started as ``python -m taco_kd.train.vendor.child JOB.json``. Nothing is downloaded, installed or sent.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import torch

from taco_kd.errors import DataError
from taco_kd.files import read_json, replacing
from taco_kd.models import zoo
from taco_kd.models.ultralytics_quiet import quiet_ultralytics
from taco_kd.train.memory import peak_mb

RESUME = "resume.pt"
"""What a resume needs, as tensors and numbers alone: Ultralytics' own last.pt is a pickle of objects."""


def main() -> None:
    job = read_json(Path(sys.argv[1]))
    tell = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever it prints goes where its errors go
    trainer = _trainer(job, tell)
    trainer.train()
    _say(tell, event="end", epochs=trainer.epoch + 1)


def _say(tell: TextIO, **values: Any) -> None:
    tell.write(json.dumps(values) + "\n")


def _trainer(job: dict[str, Any], tell: TextIO) -> Any:
    with quiet_ultralytics():
        from ultralytics.data import utils as data_utils
        from ultralytics.engine import trainer as engine
        from ultralytics.utils import SETTINGS
    data_utils.check_font = lambda *_, **__: None  # else fonts are downloaded, for pictures nobody asked for
    engine.check_amp = lambda *_, **__: True  # else a model is downloaded, to try whether AMP works
    keep_off = (
        "sync",
        "clearml",
        "comet",
        "dvc",
        "hub",
        "mlflow",
        "neptune",
        "raytune",
        "tensorboard",
        "wandb",
    )
    here = {"runs_dir": job["folder"], "datasets_dir": job["folder"], "weights_dir": job["folder"]}
    SETTINGS.update({**{key: False for key in (*keep_off, "platform") if key in SETTINGS}, **here})
    kind = _kind(_base(job["family"]), job, tell)
    trainer = kind(overrides={**job["arguments"], "model": job["model"], "data": job["data"]})
    _listen(trainer, tell)
    return trainer


def _base(family: str) -> Any:
    with quiet_ultralytics():
        if family == "yolo":
            from ultralytics.models.yolo.detect import DetectionTrainer

            return DetectionTrainer
        from ultralytics.models.rtdetr.train import RTDETRTrainer

        return RTDETRTrainer


def _kind(base: Any, job: dict[str, Any], tell: TextIO) -> Any:
    """The vendor's trainer, begun with our weights, and resumed without unpickling objects."""

    class Trainer(base):  # type: ignore[misc]
        def setup_model(self) -> Any:
            network = zoo.load(Path(job["initial"])).network
            network.yaml["yaml_file"] = f"{job['model']}.yaml"  # by which its files say what they are
            self.model = self.set_model_names_for_load(network)
            return read_resume(Path(job["folder"])) if job["resume"] else None

        def _get_warmup_iterations(self, num_batches: int) -> int:
            return int(min(job["warmup_steps"], max(0, self.epochs - 1) * num_batches))

        def resume_training(self, ckpt: dict[str, Any] | None) -> None:
            if ckpt is None:
                return
            self.model.load_state_dict(ckpt["model"])
            self.ema.ema.load_state_dict(ckpt["ema"])
            self.ema.updates = ckpt["updates"]
            self.optimizer.load_state_dict(ckpt["optimizer"])
            self.scaler.load_state_dict(ckpt["scaler"])
            self.best_fitness, self.start_epoch = ckpt["best_fitness"], ckpt["epoch"] + 1
            self.stopper.__dict__.update(ckpt["stopper"])

        def save_model(self) -> bool:
            super().save_model()
            fitness, stopper = self.best_fitness, self.stopper
            state = {
                "epoch": self.epoch,
                "stop": bool(self.stop),
                "model": self.model.state_dict(),
                "ema": self.ema.ema.state_dict(),
                "updates": self.ema.updates,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "best_fitness": None if fitness is None else float(fitness),
                "stopper": {
                    "best_fitness": float(stopper.best_fitness or 0.0),
                    "best_epoch": int(stopper.best_epoch),
                },
            }
            with replacing(Path(job["folder"]) / RESUME) as aside:
                torch.save(state, aside)
            ap = (self.metrics or {}).get("metrics/mAP50-95(B)") if job["arguments"]["val"] else None
            seen = {} if ap is None else {"ap": float(ap), "ap50": float(self.metrics["metrics/mAP50(B)"])}
            best = bool(seen) and self.best_fitness == self.fitness
            _say(tell, event="epoch", epoch=self.epoch, best=best, stop=bool(self.stop), **seen)
            return True

        def final_eval(self) -> None:
            """Our evaluator does this; the vendor's would unpickle files that may be of another process."""

    return Trainer


def _listen(trainer: Any, tell: TextIO) -> None:
    """Tell of each batch."""
    clock = {"last": time.perf_counter(), "begun": 0.0, "batch": 0}

    def start(trainer: Any) -> None:
        _say(tell, event="begin", epoch=trainer.start_epoch, batches=len(trainer.train_loader))

    def epoch(trainer: Any) -> None:
        clock.update(batch=0, last=time.perf_counter())

    def began(trainer: Any) -> None:
        clock["begun"] = time.perf_counter()

    def done(trainer: Any) -> None:
        now = time.perf_counter()
        terms = {name: float(value) for name, value in trainer.loss_items.items()}
        clock["batch"] += 1
        _say(
            tell,
            event="step",
            step=trainer.epoch * len(trainer.train_loader) + int(clock["batch"]),
            terms={name.removesuffix("_loss"): value for name, value in terms.items()},
            lr=max(group["lr"] for group in trainer.optimizer.param_groups),
            step_s=now - clock["last"],
            data_wait_s=max(0.0, clock["begun"] - clock["last"]),
            memory_mb=peak_mb(trainer.device),
        )
        clock["last"] = now

    trainer.add_callback("on_train_start", start)
    trainer.add_callback("on_train_epoch_start", epoch)
    trainer.add_callback("on_train_batch_start", began)
    trainer.add_callback("on_train_batch_end", done)


def read_resume(folder: Path) -> dict[str, Any]:
    """What was saved after the last whole epoch; ``stop`` where that was the last one.

    Raises:
        DataError: it is damaged, or holds more than tensors and numbers.
    """
    path = folder / RESUME
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(f"{path}: not a usable checkpoint; start anew with --overwrite") from error
    return found


if __name__ == "__main__":
    main()
