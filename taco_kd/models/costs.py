"""What each model of the table costs, measured once and shipped: listing names should build no network."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

CLASSES = 60
"""Classes of the heads that were measured: TACO's, as in the paper's Table I."""

FILE = "costs.csv"


@dataclass(frozen=True)
class ModelCost:
    """Parameters and operations of one forward of a [1, 3, S, S] image, S being the model's own input side.

    Attributes:
        parameters: all of them.
        gflops: 2 x multiply-adds of convolutions and matrix products, attention included.
        paper_parameters_m, paper_gflops: the pair as the paper's Table I counts it (thop 0.1.1), in millions
            and in 2 x GMACs.
    """

    name: str
    image_size: int
    parameters: int
    gflops: float
    paper_parameters_m: float
    paper_gflops: float


def shipped_costs() -> dict[str, ModelCost]:
    """By name, what ``taco-kd list models --measure`` printed for this version."""
    text = (resources.files("taco_kd.models") / FILE).read_text(encoding="utf-8")

    return {
        row["name"]: ModelCost(
            name=row["name"],
            image_size=int(row["image_size"]),
            parameters=int(row["parameters"]),
            gflops=float(row["gflops"]),
            paper_parameters_m=float(row["paper_parameters_m"]),
            paper_gflops=float(row["paper_gflops"]),
        )
        for row in csv.DictReader(text.splitlines())
    }
