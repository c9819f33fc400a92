"""Weights as they were read, before any model has taken them: tensors, and what their source says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from taco_kd.errors import DataError

OURS = "taco-kd"
"""``kind`` of a file that taco-kd wrote"""


@dataclass(frozen=True)
class Blueprint:
    """What a source says about the model it holds: enough to build the network again."""

    family: str
    model_name: str
    architecture: Mapping[str, Any]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Stored:
    """Weights as read from one source.

    Args:
        label: the source in words, for messages.
        kind: the format, in words.
        state: tensors by the source's own names; floating ones are float32.
        classes: one name per place of the head; None where the source names none.
        blueprint: None where the source does not say what it holds.
        origin: where exactly it came from (path, sha256, repository, commit), for the record of a run.
        remarks: what was done to get at the tensors, for the load report.
    """

    label: str
    kind: str
    state: Mapping[str, Tensor]
    classes: tuple[str, ...] | None = None
    blueprint: Blueprint | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def blueprint_of_ours(metadata: Mapping[str, str], path: Path) -> Blueprint | None:
    """The model that the metadata of a file of ours describes; None in files older than 0.2.

    Raises:
        DataError: the metadata is damaged.
    """
    if "architecture" not in metadata:
        return None
    try:
        return Blueprint(
            metadata["family"],
            metadata["model"],
            json.loads(metadata["architecture"]),
            int(metadata["image_size"]),
            _three(json.loads(metadata["mean"])),
            _three(json.loads(metadata["std"])),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: its metadata is damaged ({error}); it was not saved whole") from None


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return red, green, blue


def classes_of_ours(metadata: Mapping[str, str], path: Path) -> tuple[str, ...]:
    """Class names of a file of ours; DataError where it carries none."""
    try:
        return tuple(str(name) for name in json.loads(metadata["class_names"]))
    except (KeyError, ValueError, TypeError):
        raise DataError(f"{path}: carries no class names; it was not saved by taco-kd") from None
