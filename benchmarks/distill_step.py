"""What a distillation step costs: online, with a teacher cache, and as the paper's code was released.

    python benchmarks/distill_step.py [--full] [--recipe nano-paper] [--rounds 15] [--processor-time]
                                      [--device cpu] [--image-size N] [--batch-size N]

All sides run in one process, in turn, on the same images, with the same modules. Ours are steps of the real
training loop (batch, forwards, losses, backward, clipping, AdamW):

  student    the student alone on the ground truth
  online     with the teacher run in the step
  cached     with the teacher's answers read from a warm cache (safetensors shards in a temporary folder)
  teacher    one forward of the teacher on the same batch, for the sum it is compared with
  released   the step of the paper's released code, rebuilt: the teacher is forwarded twice (predictions, then
             maps), the student's backbone and encoder twice; softmax KL, L1 and MSE on the encoder's maps;
             no detection loss, since its first stage has none
  joint      the same with the detection loss beside it, as Algorithm 1 of the paper has it

Printed: medians, and the median of the ratios within a round. Weights are random: a step costs the same.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taco_kd.config import PrepareConfig, Recipe, load_recipe
from taco_kd.data.batches import Batches
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.prepare import prepare
from taco_kd.distill.distiller import Distiller
from taco_kd.models import zoo
from taco_kd.models.detector import Detector
from taco_kd.progress import notice
from taco_kd.train.caching import open_caches
from taco_kd.train.loop import steps
from taco_kd.train.optim import build_optimizer
from taco_kd.train.state import TrainState
from taco_kd.types import total

TARGETS = (
    ("cached / student", 1.06, "at most"),
    ("online / (student + teacher)", 1.03, "at most"),
    ("released / online", 1.6, "at least"),
    ("released / cached", 1.6, "at least"),
    ("joint / online", 1.6, "at least"),
)


class _EnoughError(Exception):
    pass


@contextmanager
def stops_after(module: nn.Module) -> Iterator[list[Tensor]]:
    """A forward of a model ends with ``module``, whose last maps are in the list then."""
    maps: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        maps.extend(output.last_hidden_state if hasattr(output, "last_hidden_state") else output[0])
        raise _EnoughError

    handle = module.register_forward_hook(keep)
    try:
        yield maps
    except _EnoughError:
        pass
    finally:
        handle.remove()


class Released(nn.Module):
    """The released losses: query to query, sliced logits, 1x1 projections on the encoder's maps."""

    def __init__(self, student: Detector, teacher: Detector) -> None:
        super().__init__()
        self.levels = min(len(student.encoder_spec), len(teacher.features_spec))  # the coarsest of both
        pairs = zip(student.encoder_spec[-self.levels :], teacher.features_spec[-self.levels :], strict=True)
        self.projections = nn.ModuleList(nn.Conv2d(s.channels, t.channels, 1) for s, t in pairs)

    def forward(self, student: Detector, teacher: Detector, images: Tensor, targets: list | None) -> Tensor:
        with torch.no_grad():
            said = teacher(images)
            maps_t = [level.tensor for level in teacher(images, with_features=True).features]  # again
        own = student(images, targets)
        with stops_after(student.network.model.encoder) as maps_s:  # and again
            student(images)
        terms = [total(own.losses)] if targets is not None else []
        coarsest = slice(-self.levels, None)
        for project, ours, theirs in zip(self.projections, maps_s[coarsest], maps_t[coarsest], strict=True):
            resized = F.interpolate(theirs, size=ours.shape[-2:], mode="bilinear")
            terms.append(F.mse_loss(project(ours), resized))
        queries = min(own.logits.shape[1], said.logits.shape[1])
        classes = min(own.logits.shape[2], said.logits.shape[2])
        log_p = (own.logits[:, :queries, :classes] / 4).log_softmax(-1)
        q = (said.logits[:, :queries, :classes] / 4).softmax(-1)
        terms.append(0.8 * 16 * F.kl_div(log_p, q, reduction="batchmean"))
        terms.append(1.2 * F.l1_loss(own.boxes_cxcywh[:, :queries], said.boxes_cxcywh[:, :queries]))
        return torch.stack(terms).sum()


@dataclass
class Bench:
    """The sides, each a call that does one step."""

    sides: dict[str, Callable[[], object]]
    device: torch.device
    clock: Callable[[], float]

    def seconds(self, name: str) -> float:
        self._wait()
        began = self.clock()
        self.sides[name]()
        self._wait()
        return self.clock() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def make(
    recipe: Recipe, folder: Path, device: torch.device, rounds: int, clock: Callable[[], float]
) -> Bench:
    """Models, data and a warm cache."""
    assert recipe.teacher is not None
    side = recipe.student.image_size or zoo.find(recipe.student.model).image_size
    config = recipe.train.model_copy(update={"horizontal_flip": 0.0})
    scenes = PrepareConfig(source="synthetic", size=side, scenes=max(8, 2 * config.batch_size), seed=7)
    data = prepare(scenes, folder / "data")
    dataset = DetectionDataset(data, "train", side)
    total_steps = 10**6

    def student() -> Detector:
        torch.manual_seed(0)
        return zoo.find(recipe.student.model).build(data.class_names).to(device)

    teacher = zoo.find(recipe.teacher.model).build(data.class_names).to(device).eval().requires_grad_(False)
    teacher.image_size = side
    distil = recipe.distill.model_copy(
        update={"cache": str(folder / "cache"), "cache_features": True, "calibration_steps": 1,
                "min_teacher_score": 0.0}
    )  # fmt: skip
    lesson = recipe.lessons()[0].model_copy(update={"distill": distil})

    def ours(kind: str) -> Callable[[], object]:
        model = student()
        distiller = None if kind == "student" else Distiller([lesson], model, [teacher]).to(device)
        if kind == "cached":
            assert distiller is not None
            open_caches(distiller, data, dataset, config, steps_total=total_steps, device=device)
            for step in range(len(dataset) // min(config.batch_size, len(dataset))):  # an epoch fills it
                batch = _batch(dataset, config, step)
                distiller.teach(batch.images.to(device).float() / 255, batch.targets, batch=batch)
            distiller.caches[0].flush()  # type: ignore[union-attr]
            open_caches(distiller, data, dataset, config, steps_total=total_steps, device=device)
        state = TrainState(model, distiller, build_optimizer(model, distiller, config), None)
        work = steps(state, dataset, config, steps_total=total_steps, device=device)
        return functools.partial(next, work)

    def released(*, joint: bool) -> Callable[[], object]:
        model = student()
        criterion = Released(model, teacher).to(device)
        parameters = [*model.parameters(), *criterion.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=config.lr)
        count = iter(range(10**9))

        def step() -> None:
            model.train()
            batch = _batch(dataset, config, next(count))
            images = batch.images.to(device).float() / 255
            targets = [t.to(device) for t in batch.targets] if joint else None
            loss = criterion(model, teacher, images, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            optimizer.step()
            loss.item()

        return step

    @torch.no_grad()
    def forward() -> None:
        batch = _batch(dataset, config, 0)
        teacher(batch.images.to(device).float() / 255, with_features=lesson.distill.features != "off")

    sides = {
        "student": ours("student"),
        "online": ours("online"),
        "cached": ours("cached"),
        "teacher": forward,
        "released": released(joint=False),
        "joint": released(joint=True),
    }
    return Bench(sides, device, clock)


def _batch(dataset: DetectionDataset, config, step: int):
    return Batches(dataset, config, steps_total=10**6).batch(step)


def ratios(round_: dict[str, float]) -> dict[str, float]:
    """Of one round."""
    return {
        "cached / student": round_["cached"] / round_["student"],
        "online / (student + teacher)": round_["online"] / (round_["student"] + round_["teacher"]),
        "online / student": round_["online"] / round_["student"],
        "released / online": round_["released"] / round_["online"],
        "released / cached": round_["released"] / round_["cached"],
        "joint / online": round_["joint"] / round_["online"],
        "joint / cached": round_["joint"] / round_["cached"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", help="nano-paper, or paper with --full")
    parser.add_argument("--full", action="store_true", help="full-size models, 640 px, batch 1")
    parser.add_argument("--rounds", type=int, help="15, or 3 with --full")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processor-time", action="store_true", help="count the process's own seconds")
    parser.add_argument("--set", action="append", default=[], help="override a setting of the recipe")
    given = parser.parse_args()
    changes = [f"train.batch_size={given.batch_size or (1 if given.full else 16)}", *given.set]
    if given.image_size:
        changes.append(f"student.image_size={given.image_size}")
    recipe = load_recipe(given.recipe or ("paper" if given.full else "nano-paper"), changes)
    rounds = given.rounds or (3 if given.full else 15)
    clock = time.process_time if given.processor_time else time.perf_counter
    device = torch.device(given.device)
    with tempfile.TemporaryDirectory() as folder:
        bench = make(recipe, Path(folder), device, rounds, clock)
        for name in bench.sides:  # warm up; ours measure gradient shares in their first step
            for _ in range(1 if given.full else 3):
                bench.sides[name]()
        table: list[dict[str, float]] = []
        for turn in range(rounds):
            names = list(bench.sides)[:: 1 if turn % 2 == 0 else -1]
            table.append({name: bench.seconds(name) for name in names})
            notice(f"round {turn + 1} of {rounds}")
    print(f"{recipe.name}, {recipe.train.batch_size} images a step, {device}, {rounds} rounds")
    for name in bench.sides:
        print(f"  {name:<10} {1e3 * statistics.median(row[name] for row in table):10.1f} ms")
    bound = {name: f"   (wanted: {how} {limit})" for name, limit, how in TARGETS}
    for name in ratios(table[0]):
        values = sorted(ratios(row)[name] for row in table)
        low, high = values[len(values) // 4], values[(3 * len(values)) // 4 if len(values) > 3 else -1]
        print(f"  {name:<30} {statistics.median(values):6.3f}  [{low:.3f}, {high:.3f}]{bound.get(name, '')}")


if __name__ == "__main__":
    main()
