"""Parameters and FLOPs of every model of the zoo, in our convention and in the paper's."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from taco_kd.bench.flops import count
from taco_kd.bench.paper_convention import paper_cost
from taco_kd.files import replacing
from taco_kd.models.costs import CLASSES, ModelCost
from taco_kd.models.detector import ImageModel
from taco_kd.models.entry import FeatureEntry, ModelEntry


def measure(entry: ModelEntry | FeatureEntry, *, classes: int = CLASSES) -> ModelCost:
    """Build a model from its configuration (random weights, no download) and count one forward on the CPU.

    Args:
        classes: how many classes its head gets; a feature teacher has none.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: ImageModel
        if isinstance(entry, ModelEntry):
            model = entry.build([f"class {i}" for i in range(classes)])
        else:
            model = entry.build()
    cost = count(model, entry.image_size)
    paper = paper_cost(model, entry.image_size)
    return ModelCost(
        name=entry.name,
        image_size=entry.image_size,
        parameters=cost.parameters,
        gflops=round(cost.gflops, 3),
        paper_parameters_m=round(paper.parameters_m, 4),
        paper_gflops=round(paper.gflops, 3),
    )


def measure_all(
    entries: Sequence[ModelEntry | FeatureEntry], *, classes: int = CLASSES
) -> Iterator[ModelCost]:
    """One model at a time, so that only one is in memory."""
    for entry in entries:
        yield measure(entry, classes=classes)


def write_costs(path: Path, costs: Sequence[ModelCost]) -> None:
    """The table as CSV, atomically."""
    names = [field.name for field in dataclasses.fields(ModelCost)]
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(cost) for cost in costs)
