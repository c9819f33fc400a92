"""Trains the same steps in one and in several processes, measures how far apart they end.

``python tests/train/equality.py`` prints all cases as a table; with names, these cases as JSON.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS = 3
COMMON = ["train.clip_norm=1e9", "train.warmup_steps=1", "train.lr=1e-4", f"train.steps={STEPS}"]
SIZE = ["student.image_size=96"]
FROZEN, SYNC = "train.freeze_batch_norm=true", "train.sync_batch_norm=true"
NEW = ["student.weights=random"]
PAPER = ["distill.gate=off", "distill.min_teacher_score=0"]
PAIRS = ["distill.gate=off", "distill.features=off"]


@dataclass(frozen=True)
class Case:
    """Settings of a run in several processes; ``empty`` blanks the objects of some images.

    Attributes:
        empty: ``all``, or ``last`` for the images of the last of two processes.
        world: how many processes; one is compared with itself without micro-batches and lower precision.
        double: compute in float64.
    """

    recipe: str
    changes: list[str]
    batch: int = 4
    world: int = 2
    empty: str = ""
    double: bool = False


CASES = {
    "rtdetr-nano, frozen batch norm": Case("nano-baseline", [FROZEN]),
    "rtdetr-nano, synchronised batch norm": Case("nano-baseline", [SYNC]),
    "rtdetr-nano, synchronised, float64": Case("nano-baseline", [SYNC], double=True),
    "rtdetr-nano, synchronised, 5 on 2": Case("nano-baseline", [SYNC], batch=5),
    "rtdetr-nano, synchronised, 5 on 3": Case("nano-baseline", [SYNC], batch=5, world=3),
    "rtdetr-nano, synchronised, bf16": Case("nano-baseline", [SYNC, "train.precision=bf16"]),
    "rtdetr-nano, one process without objects": Case("nano-baseline", [SYNC], empty="last"),
    "rtdetr-nano, no objects at all": Case("nano-baseline", [SYNC], empty="all"),
    "rtdetr-nano, micro_batch=2 on 2": Case("nano-baseline", [FROZEN, "train.micro_batch=2"], batch=8),
    "rtdetr-nano, micro_batch=1 alone": Case("nano-baseline", [FROZEN, "train.micro_batch=1"], world=1),
    "conditional-detr-nano": Case(
        "nano-baseline", ["student.model=conditional-detr-nano", *NEW, SYNC], batch=5
    ),
    "conditional-detr-nano, no objects at all": Case(
        "nano-baseline", ["student.model=conditional-detr-nano", *NEW, SYNC], empty="all"
    ),
    "yolo11-nano": Case("nano-yolo11", [*NEW, SYNC], batch=5),
    "yolo11-nano, one process without objects": Case("nano-yolo11", [*NEW, SYNC], empty="last"),
    "yolo11-nano, no objects at all": Case("nano-yolo11", [*NEW, SYNC], empty="all"),
    "yolo11-nano, float64": Case("nano-yolo11", [*NEW, SYNC], batch=5, double=True),
    "rtdetr-nano, frozen, bf16": Case("nano-baseline", [FROZEN, "train.precision=bf16"]),
    "rtdetr-nano, bf16 against float32, alone": Case("nano-baseline", ["train.precision=bf16"], world=1),
    "nano-matched, calibrated, float64": Case("nano-matched", ["distill.gate=off", SYNC], double=True),
    "nano-paper": Case("nano-paper", [*PAPER, SYNC]),
    "nano-paper, float64": Case("nano-paper", [*PAPER, SYNC], double=True),
    "nano-paper, 5 on 3": Case("nano-paper", [*PAPER, FROZEN], batch=5, world=3),
    "nano-paper, one process without objects": Case("nano-paper", [*PAPER, SYNC], empty="last"),
    "nano-matched, calibrated": Case("nano-matched", ["distill.gate=off", SYNC], batch=5),
    "nano-matched, no maps, float64": Case("nano-matched", [*PAIRS, FROZEN], double=True),
    "nano-matched, no maps, 5 on 3": Case("nano-matched", [*PAIRS, FROZEN], batch=5, world=3),
    "nano-matched, no maps, one process without objects": Case(
        "nano-matched", [*PAIRS, FROZEN], empty="last"
    ),
}


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def forked(world: int, work: Callable[[int], Any], *, timeout_s: float = 300) -> list[tuple[int, Any]]:
    """Exit code and JSON result of ``work(rank)`` in each of ``world`` new processes of one group."""
    port, children = free_port(), []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(world):
            if (child := os.fork()) == 0:
                code = 1
                try:
                    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
                    os.environ.update({name: str(value) for name, value in places.items()})
                    os.environ["MASTER_ADDR"] = "127.0.0.1"
                    Path(folder, str(rank)).write_text(json.dumps(work(rank)))
                    code = 0
                except BaseException:  # told by the exit code
                    import traceback

                    traceback.print_exc()
                finally:
                    os._exit(code)
            children.append(child)
        until = time.monotonic() + timeout_s
        codes: dict[int, int] = {}
        while len(codes) < world and time.monotonic() < until:
            for child in children:
                if child not in codes:
                    done, status = os.waitpid(child, os.WNOHANG)
                    if done:
                        codes[child] = os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        for child in children:
            if child not in codes:  # it hangs
                with suppress(ProcessLookupError):
                    os.kill(child, 9)
                os.waitpid(child, 0)
        files = [Path(folder, str(rank)) for rank in range(world)]
        results = [json.loads(f.read_text()) if f.is_file() else None for f in files]
        return [(codes.get(child, -9), result) for child, result in zip(children, results, strict=True)]


def trained(case: Case, data: Path, out: Path, changes: list[str]) -> dict[str, Any]:
    """Train in this process, one of a group or alone; rank 0 leaves gradients and weights in ``out``."""
    import torch

    from taco_kd.config import load_recipe
    from taco_kd.runs import DataDir
    from taco_kd.train.build import build
    from taco_kd.train.loop import steps
    from taco_kd.train.processes import open_processes

    torch.set_num_threads(1)
    recipe = load_recipe(case.recipe, [*COMMON, *SIZE, *changes, f"train.batch_size={case.batch}"])
    processes = open_processes(torch.device("cpu"))
    if case.double:
        torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]  # images, losses of the library
    dataset, state, _ = build(recipe, DataDir.open(data), processes.device)
    if hasattr(state.student.network, "config"):
        state.student.network.config.num_denoising = 0  # its noise is another in each process
    _blank(dataset, case, recipe.train.seed)
    if case.double:
        torch.set_default_dtype(torch.float64)
        teachers = [] if state.distiller is None else [each.teacher for each in state.distiller.each()]
        for module in (state.student, state.distiller, *teachers):
            if module is not None:
                module.double()
        for target in dataset.targets:
            object.__setattr__(target, "boxes_cxcywh", target.boxes_cxcywh.double())
    first: dict[str, Any] = {}
    update = state.optimizer.step

    def step(*args: Any, **kwargs: Any) -> Any:
        if not first:
            for name, parameter in state.student.named_parameters():
                if parameter.grad is not None:
                    first[name] = parameter.grad.clone()
        return update(*args, **kwargs)

    state.optimizer.step = step  # type: ignore[method-assign]
    work = steps(
        state,
        dataset,
        recipe.train,
        steps_total=STEPS,
        device=processes.device,
        labels=recipe.labels,
        processes=processes,
    )
    losses = [done.loss for done in work]
    if processes.first:
        torch.save({"gradients": first, "weights": state.student.state_dict()}, out)
    return {"losses": losses, "skipped": state.skipped}


def _blank(dataset: Any, case: Case, seed: int) -> None:
    from taco_kd.types import Targets

    chosen: set[int] = set()
    if case.empty == "all":
        chosen = set(range(len(dataset)))
    elif case.empty == "last":
        for step in range(STEPS):
            positions, _ = dataset.step_positions(step, batch_size=case.batch, seed=seed)
            chosen |= set(positions[case.batch // 2 :])
    for place in chosen:
        old = dataset.targets[place]
        dataset.targets[place] = Targets(old.boxes_cxcywh[:0], old.class_ids[:0], old.image_id)


def measured(case: Case, data: Path) -> dict[str, Any]:
    """Largest differences, relative to the largest value of the tensor, and of the losses."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        one, several = Path(folder, "one"), Path(folder, "several")
        apart = ("micro_batch", "precision")  # what one process is compared in with itself
        alone = (
            case.changes if case.world > 1 else [c for c in case.changes if not any(a in c for a in apart)]
        )
        ((code, single),) = forked(1, lambda _: trained(case, data, one, alone))
        answers = forked(case.world, lambda _: trained(case, data, several, case.changes))
        if code or any(code for code, _ in answers):
            return {"failed": [code, *(code for code, _ in answers)]}
        ours, theirs = (torch.load(file, weights_only=True) for file in (several, one))
    losses = [answer["losses"] for _, answer in answers]
    return {
        "ranks agree": all(each == losses[0] for each in losses),
        "loss": max(abs(a - b) / abs(b) for a, b in zip(losses[0], single["losses"], strict=True)),
        "gradients": _apart(ours["gradients"], theirs["gradients"]),
        "weights": _apart(ours["weights"], theirs["weights"]),
        "skipped": single["skipped"] + answers[0][1]["skipped"],
    }


def _apart(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Norm of all differences over the norm of all values."""
    assert ours.keys() == theirs.keys()
    apart = sum(float((ours[k].double() - theirs[k].double()).square().sum()) for k in theirs)
    whole = sum(float(theirs[k].double().square().sum()) for k in theirs)
    return float((apart / whole) ** 0.5) if whole else apart**0.5


def normalised(double: bool) -> float:
    """Largest difference of synchronised batch norms on 3 processes from one on the whole batch: outputs,
    gradients of values, weight and bias, running statistics."""
    import torch
    from torch import nn

    from taco_kd.train.processes import open_processes
    from taco_kd.train.sync_batch_norm import is_synchronised, synchronise

    torch.set_default_dtype(torch.float64 if double else torch.float32)

    def make() -> nn.Module:
        torch.manual_seed(0)
        norms: list[nn.Module] = [
            nn.BatchNorm2d(4),
            nn.BatchNorm2d(4, affine=False),
            nn.BatchNorm2d(4, momentum=None),
        ]
        return nn.Sequential(
            *[layer for norm in norms for layer in (nn.Conv2d(4, 4, 3, bias=False), norm, nn.Tanh())]
        )

    def done(network: nn.Module, values: torch.Tensor) -> list[torch.Tensor]:
        values = values.clone().requires_grad_()
        found = []
        for _ in range(2):
            output = network(values)
            (output.square().sum() + (output[:, 0] ** 3).sum()).backward()
            found.append(output.detach())
        network.eval()
        found.append(network(values).detach())
        assert values.grad is not None
        return [*found, values.grad, *[p.grad for p in network.parameters() if p.grad is not None]]

    torch.manual_seed(1)
    batch = torch.randn(6, 4, 9, 9)
    reference = make()
    whole = done(reference, batch)
    starts = [0, 1, 3, 6]  # 1, 2 and 3 images

    def work(rank: int) -> float:
        processes = open_processes(torch.device("cpu"))
        network = make()
        names = list(network.state_dict())
        synchronise(network, by_torch=False)
        assert is_synchronised(network)
        own = slice(starts[rank], starts[rank + 1])
        mine = done(network, batch[own])
        assert list(network.state_dict()) == names
        apart = []
        for place, (ours, theirs) in enumerate(zip(mine, whole, strict=True)):
            if place < 4:  # of the images
                apart.append(float((ours - theirs[own]).abs().max() / theirs.abs().max()))
            else:  # of the weights: summed over the processes
                torch.distributed.all_reduce(ours)
                apart.append(float((ours - theirs).abs().max() / theirs.abs().max()))
        for name, value in reference.state_dict().items():
            apart.append(
                float((network.state_dict()[name] - value).abs().max() / value.abs().max().clamp(min=1))
            )
        make().load_state_dict(network.state_dict())
        processes.wait()
        return max(apart)

    answers = forked(3, work)
    torch.set_default_dtype(torch.float32)
    assert not any(code for code, _ in answers), answers
    return max(result for _, result in answers)


def lost(data: Path, folder: Path) -> dict[str, Any]:
    """Kill one of two processes inside a step; go on; compare with the undisturbed run of two processes."""
    from killing import SMALL, left

    words = ["train", "--data", str(data), "--steps", "4", "--device", "cpu", *SMALL]
    words += ["--set", "train.ema_decay=0.5", "--set", "train.batch_size=4"]

    def command(*words: str, die: bool = False) -> Callable[[int], Any]:
        def work(rank: int) -> None:
            import torch

            from taco_kd.cli.app import main

            said = (folder / f"said-{rank}").open("w")
            for number in (1, 2):
                os.dup2(said.fileno(), number)
            if die and rank == 1:
                update, count = torch.Tensor.backward, iter(range(9))

                def backward(*args: Any, **kwargs: Any) -> None:
                    update(*args, **kwargs)
                    if next(count) == 2:
                        os.kill(os.getpid(), 9)

                torch.Tensor.backward = backward  # type: ignore[method-assign]
            sys.argv = ["taco-kd", *words]
            try:
                main()
            except SystemExit as end:
                os._exit(int(end.code or 0))

        return work

    def run(*more: str, die: bool = False) -> tuple[list[int], list[str]]:
        codes = [code for code, _ in forked(2, command(*more, die=die))]
        return codes, [(folder / f"said-{rank}").read_text() for rank in range(2)]

    found: dict[str, Any] = {}
    whole, cut = folder / "whole", folder / "cut"
    found["undisturbed"], _ = run(*words, "--out", str(whole))
    found["killed"], found["said"] = run(*words, "--out", str(cut), die=True)
    found["checkpoints"] = sorted(file.name[:9] for file in (cut / "checkpoint").iterdir())
    found["resumed"], _ = run("train", "--resume", str(cut))
    found["same"] = left(cut) == left(whole)
    return found


def differing(data: Path, folder: Path) -> dict[str, Any]:
    """Two processes that are given other data, or other settings."""
    from killing import SMALL, synthetic

    other = synthetic(folder / "other", seed=12)
    found = {}
    for name in ("data", "settings"):

        def work(rank: int, name: str = name) -> None:
            from taco_kd.cli.app import main

            said = (folder / f"said-{rank}").open("w")
            os.dup2(said.fileno(), 2)
            place = other if rank == 1 and name == "data" else data
            steps = "3" if rank == 1 and name == "settings" else "2"
            sys.argv = ["taco-kd", "train", "--data", str(place), "--out", str(folder / "run"), *SMALL]
            sys.argv += ["--steps", steps, "--device", "cpu"]
            try:
                main()
            except SystemExit as end:
                os._exit(int(end.code or 0))

        codes = [code for code, _ in forked(2, work)]
        found[name] = [codes, [(folder / f"said-{rank}").read_text() for rank in range(2)]]
    return found


def main(names: list[str]) -> None:
    from killing import synthetic

    import taco_kd.train.stage  # noqa: F401 - once for all children

    with tempfile.TemporaryDirectory() as folder:
        data = synthetic(Path(folder) / "data")
        special: dict[str, Callable[[], Any]] = {
            "batch norm": lambda: normalised(double=False),
            "batch norm, float64": lambda: normalised(double=True),
            "lost": lambda: lost(data, Path(folder)),
            "differing": lambda: differing(data, Path(folder)),
        }
        if names:
            found = {
                name: special[name]() if name in special else measured(CASES[name], data) for name in names
            }
            print(json.dumps(found))
            return
        print("| case | gradients of step 1 | weights after 3 steps | losses |\n| --- | --- | --- | --- |")
        for name, case in CASES.items():
            result = measured(case, data)
            if "failed" in result:
                print(f"| {name} | exit codes {result['failed']} | | |", flush=True)
                continue
            numbers = " | ".join(f"{result[what]:.1e}" for what in ("gradients", "weights", "loss"))
            agree = "" if result["ranks agree"] and not result["skipped"] else " (ranks DISAGREE or skipped)"
            print(f"| {name}{agree} | {numbers} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
