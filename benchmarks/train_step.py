"""What the training engine adds to a bare PyTorch loop: time and memory of a step of the same model.

    python benchmarks/train_step.py [--model rtdetr-nano] [--batch-size 16] [--image-size N] [--rounds 25]
                                    [--precision float32|bf16|fp16] [--compile] [--device cpu|cuda]

Both sides train one model from one seed on the same images, in this process, in turn:

  bare    forward with the detection loss, backward, clipping, AdamW, the loss read once; its images lie in
          memory as float tensors, made beforehand
  engine  a step of taco-kd train, with its loading, seeding, schedule, checks and record

Printed: medians, the median of the ratios within a round, images/s and, with --peak-tflops, model FLOP
utilisation: three times the FLOPs of a forward pass, over the time and the peak of the device.
Memory: the peak of each side in a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from taco_kd.config import PrepareConfig, StudentConfig, TrainConfig
from taco_kd.data.batches import Batches
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.prepare import prepare
from taco_kd.models.settings import initial_student
from taco_kd.train.loop import steps
from taco_kd.train.network import shape_for_speed
from taco_kd.train.optim import build_optimizer
from taco_kd.train.state import TrainState
from taco_kd.types import total

DTYPES = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
STEPS = 10**6
"""Of the schedule; nobody waits for its end."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="rtdetr-nano")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--precision", choices=list(DTYPES), default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak-tflops", type=float, help="of the device in this precision, for the MFU")
    parser.add_argument("--no-memory", action="store_true")
    return parser.parse_args()


def config_of(given: argparse.Namespace) -> TrainConfig:
    return TrainConfig(
        batch_size=given.batch_size,
        steps=STEPS,
        precision=given.precision,
        compile=given.compile,
        horizontal_flip=0.0,
    )


def make(given: argparse.Namespace, folder: Path) -> tuple[DetectionDataset, Callable[[], nn.Module]]:
    """The images, and a maker of the model."""
    settings = StudentConfig(model=given.model, weights=given.weights, image_size=given.image_size)
    side = initial_student(settings, ("a",), seed=0)[0].image_size
    scenes = PrepareConfig(source="synthetic", size=side, scenes=max(8, 3 * given.batch_size), seed=7)
    data = prepare(scenes, folder / "data")
    dataset = DetectionDataset(data, "train", side)
    return dataset, lambda: initial_student(settings, data.class_names, seed=0)[0].to(given.device)


def bare(given: argparse.Namespace, dataset: DetectionDataset, model: nn.Module) -> Callable[[], None]:
    """A step as one writes it down."""
    device, config = torch.device(given.device), config_of(given)
    per_epoch = len(dataset) // given.batch_size
    ready = []
    for step in range(per_epoch):
        batch = Batches(dataset, config, STEPS).batch(step)
        ready.append((batch.images.to(device).float() / 255, [t.to(device) for t in batch.targets]))
    shape_for_speed(model, config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr)
    scaler = torch.amp.GradScaler(device.type) if given.precision == "fp16" else None
    dtype, turn = DTYPES[given.precision], iter(range(STEPS))

    def step() -> None:
        images, targets = ready[next(turn) % per_epoch]
        model.train()
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            loss = total(model(images, targets).losses)
        optimizer.zero_grad(set_to_none=True)
        if scaler is None:
            loss.backward()
        else:
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step() if scaler is None else scaler.step(optimizer)
        if scaler is not None:
            scaler.update()
        loss.item()

    return step


def engine(given: argparse.Namespace, dataset: DetectionDataset, model: nn.Module) -> Callable[[], object]:
    """A step of the training loop."""
    config, device = config_of(given), torch.device(given.device)
    shape_for_speed(model, config)
    state = TrainState(model, None, build_optimizer(model, None, config), None)
    if given.precision == "fp16":
        state.scaler = torch.amp.GradScaler(device.type)
    work = steps(state, dataset, config, steps_total=STEPS, device=device)
    return functools.partial(next, work)


SIDES = {"bare": bare, "engine": engine}


def seconds(device: str, step: Callable[[], object]) -> float:
    wait = torch.cuda.synchronize if device.startswith("cuda") else contextlib.nullcontext
    wait()
    began = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - began


def peak_mb(name: str, given: argparse.Namespace, folder: Path, answer: multiprocessing.Queue) -> None:
    """Of one side in a process of its own, after some steps."""
    dataset, build = make(given, folder)
    step = SIDES[name](given, dataset, build())
    for _ in range(6):
        step()
    if given.device.startswith("cuda"):
        answer.put(torch.cuda.max_memory_allocated() / 1e6)
        return
    status = Path("/proc/self/status").read_text()
    answer.put(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def main() -> None:
    given = options()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dataset, build = make(given, folder)
        sides = {name: side(given, dataset, build()) for name, side in SIDES.items()}
        for step in sides.values():
            for _ in range(3):
                step()
        table = []
        for turn in range(given.rounds):
            order = list(sides)[:: 1 if turn % 2 == 0 else -1]
            table.append({name: seconds(given.device, sides[name]) for name in order})
        print(
            f"{given.model}, {given.batch_size} images of {dataset.image_size} px, {given.precision}, "
            f"{given.device}, compile {given.compile}, {given.rounds} rounds"
        )
        for name in sides:
            median = statistics.median(row[name] for row in table)
            line = f"  {name:<7}{1e3 * median:9.1f} ms{given.batch_size / median:9.1f} images/s"
            print(line + _mfu(given, dataset.image_size, build, median))
        ratios = sorted(row["engine"] / row["bare"] for row in table)
        quarter = len(ratios) // 4
        print(
            f"  engine / bare: {statistics.median(ratios):.3f}  [{ratios[quarter]:.3f}, "
            f"{ratios[-1 - quarter]:.3f}]   (wanted: at most 1.03)"
        )
        if not given.no_memory:
            memory(given, folder)


def memory(given: argparse.Namespace, folder: Path) -> None:
    context, peaks = multiprocessing.get_context("spawn"), {}
    for name in SIDES:
        answer = context.Queue()
        process = context.Process(target=peak_mb, args=(name, given, folder, answer))
        process.start()
        peaks[name] = answer.get()
        process.join()
    print(
        "  peak memory: "
        + ", ".join(f"{name} {mb:.0f} MB" for name, mb in peaks.items())
        + f"; ratio {peaks['engine'] / peaks['bare']:.3f}   (wanted: at most 1.05)"
    )


def _mfu(given: argparse.Namespace, side: int, build: Callable[[], nn.Module], step_s: float) -> str:
    if given.peak_tflops is None:
        return ""
    from torch.utils.flop_counter import FlopCounterMode

    model = build().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, side, side, device=given.device))
    flops = 3 * counter.get_total_flops() * given.batch_size
    return f"  MFU {100 * flops / step_s / (given.peak_tflops * 1e12):.1f} %"


if __name__ == "__main__":
    main()
