"""What waiting threads cost beside other work: training steps with and without our setting of OpenMP.

    python benchmarks/busy_machine.py [--model rtdetr-nano] [--rounds 7] [--beside 0 1 2]

Threads of PyTorch on a CPU spin while they wait for each other. With GNU's OpenMP they do so for
milliseconds, which is time taken from the thread they wait for where another program has its core. ``import
taco_kd`` sets ``GOMP_SPINCOUNT`` to end that sooner. Both sides are processes of their own, since the setting
is read once, and do their steps in turn, beside so many processes that compute without end. Printed: medians,
and the median of the ratios within a round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection

BATCH = 16
SIDES = {"torch's own": False, "taco-kd": True}
"""Whether a side has what ``import taco_kd`` sets."""


def serve(model: str, ours: bool, pipe: Connection) -> None:
    """Do one step whenever asked, and answer with its seconds."""
    import taco_kd  # noqa: F401 - before torch, as the command line has it

    if not ours:
        os.environ.pop("GOMP_SPINCOUNT", None)
    import torch

    from taco_kd.config import StudentConfig
    from taco_kd.models.settings import initial_student
    from taco_kd.types import Targets, total

    student, _ = initial_student(StudentConfig(model=model, weights="random"), ("a",), seed=0)
    student.train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4)
    images = torch.rand(BATCH, 3, student.image_size, student.image_size)
    box = torch.tensor([[0.5, 0.5, 0.3, 0.3]])
    targets = [Targets(box, torch.tensor([0]), i) for i in range(BATCH)]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        total(student(images, targets).losses).backward()
        optimizer.step()

    step()
    pipe.send(torch.get_num_threads())
    while pipe.recv():
        began = time.perf_counter()
        step()
        pipe.send(time.perf_counter() - began)


def compute() -> None:
    while True:
        sum(range(1000))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="rtdetr-nano")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--beside", type=int, nargs="+", default=[0, 1, 2], help="processes that compute")
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for name, ours in SIDES.items():
        pipes[name], other = context.Pipe()
        context.Process(target=serve, args=(given.model, ours, other), daemon=True).start()
    threads = [pipe.recv() for pipe in pipes.values()]
    said = f"{given.model}, {BATCH} images, {threads[0]} threads, {os.cpu_count()} cores"
    print(f"{said}, {given.rounds} rounds")
    for count in given.beside:
        others = [context.Process(target=compute, daemon=True) for _ in range(count)]
        for other in others:
            other.start()
        time.sleep(1)
        table: list[dict[str, float]] = []
        for turn in range(given.rounds):
            row = {}
            for name in list(pipes)[:: 1 if turn % 2 == 0 else -1]:
                pipes[name].send(True)
                row[name] = pipes[name].recv()
            table.append(row)
        for other in others:
            other.terminate()
            other.join()
        medians = {name: statistics.median(row[name] for row in table) for name in SIDES}
        ratio = statistics.median(row["torch's own"] / row["taco-kd"] for row in table)
        said = ", ".join(f"{name} {1e3 * median:.0f} ms" for name, median in medians.items())
        print(f"  beside {count}: {said}; ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
