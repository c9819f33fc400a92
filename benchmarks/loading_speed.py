"""What a training step waits for its images: nano size, with and without augmentation, 0, 1 and 2 processes.

    python benchmarks/loading_speed.py [--data DATASET] [--batch 16] [--steps 12] [--rounds 3]

Without ``--data`` it prepares synthetic scenes at the size of the model. A step is forward, backward and
update on the CPU with one thread per core that loading leaves over, as a user would run it. For each setting
the loop is run as training does it, and the time from asking for a batch until it is there is the wait.
Settings take turns in one process; medians over the rounds. The first steps of each turn, in which the
processes start, are told apart and not counted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from taco_kd.config import AugmentConfig, PrepareConfig, TrainConfig
from taco_kd.data.batches import Batches
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.loading import training_batches
from taco_kd.data.prepare import prepare
from taco_kd.models.zoo import make
from taco_kd.runs import DataDir

AUGMENTATIONS = {
    "mirror only": AugmentConfig(),
    "RT-DETR's": AugmentConfig(photometric=1.0, zoom_out=0.5, iou_crop=0.8),
    "all": AugmentConfig(
        photometric=1.0, zoom_out=0.5, iou_crop=0.8, mosaic=0.5, copy_paste=0.5, multi_scale=(160, 224)
    ),
}
WARM_STEPS = 4
"""Until then the processes have started and the first batches, made meanwhile, are used up."""


@dataclass
class Turn:
    """Seconds of the steps of one turn: waits, work, and until the first batch was there."""

    waits: list[float]
    works: list[float]
    start: float


def turn(dataset, model, optimizer, config: TrainConfig, steps: int) -> Turn:
    waits, works = [], []
    began = time.perf_counter()
    start = 0.0
    total = steps + WARM_STEPS
    with closing(training_batches(dataset, config, first_step=0, steps_total=total)) as batches:
        for step in range(total):
            asked = time.perf_counter()
            batch = next(batches)
            got = time.perf_counter()
            loss = sum(model(batch.images.float() / 255, batch.targets).losses.values())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            done = time.perf_counter()
            if step == 0:
                start = got - began
            if step >= WARM_STEPS:
                waits.append(got - asked)
                works.append(done - got)
    return Turn(waits, works, start)


def images_per_second(dataset, config: TrainConfig, steps: int) -> float:
    """Of one process that does nothing but load, images decoded already where they fit into memory."""
    batches = Batches(dataset, config, steps)
    began = time.process_time()
    for step in range(steps):
        batches.batch(step)
    return steps * config.batch_size / (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default="rtdetr-nano")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--no-memory", action="store_true", help="Decode every image each time.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if args.data is None:
            settings = PrepareConfig(source="synthetic", scenes=160, size=192, workers=1)
            data = prepare(settings, Path(scratch) / "data")
        else:
            data = DataDir.open(args.data)
        model, _ = make(args.model, data.class_names, weights="random", seed=0)
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        dataset = DetectionDataset(data, "train", model.image_size)
        if args.no_memory:
            dataset.keep_in_memory(0)
        print(f"{args.model} at {model.image_size} px, batches of {args.batch}, {len(dataset)} images")
        plans = {
            (name, workers): TrainConfig(batch_size=args.batch, augment=augment, workers=workers)
            for name, augment in AUGMENTATIONS.items()
            for workers in args.workers
        }
        found: dict[tuple[str, int], list[Turn]] = {plan: [] for plan in plans}
        for _ in range(args.rounds):
            for plan, config in plans.items():
                found[plan].append(turn(dataset, model, optimizer, config, args.steps))
        speed = {
            name: statistics.median(
                images_per_second(dataset, plans[name, args.workers[0]], args.steps)
                for _ in range(args.rounds)
            )
            for name in AUGMENTATIONS
        }
    print(f"{'augmentation':14}{'processes':>10}{'wait ms':>10}{'step ms':>10}{'share':>8}{'first s':>9}")
    for (name, workers), turns in found.items():
        wait = statistics.median(w for t in turns for w in t.waits)
        whole = statistics.median(a + b for t in turns for a, b in zip(t.waits, t.works, strict=True))
        share = statistics.median(sum(t.waits) / (sum(t.waits) + sum(t.works)) for t in turns)
        start = statistics.median(t.start for t in turns)
        print(f"{name:14}{workers:>10}{wait * 1e3:>10.1f}{whole * 1e3:>10.1f}{share:>8.1%}{start:>9.2f}")
    for name, value in speed.items():
        print(f"loading alone, {name}: {value:.0f} images a second of processor time, one process")


if __name__ == "__main__":
    main()
