"""What trackers are given: the numbers of a step, and the settings of a run, flat. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any


def step_values(line: Mapping[str, Any]) -> dict[str, float]:
    """A line of the log as named numbers; what is absent or not finite is left out."""
    plain = ("loss", "lr", "grad_norm")
    speed = ("images_per_s", "step_s", "data_wait_s", "memory_mb")
    values = {
        **{f"train/{key}": line.get(key) for key in plain},
        **{f"speed/{key}": line.get(key) for key in speed},
        **{f"terms/{key}": value for key, value in (line.get("terms") or {}).items()},
        **{f"raw/{key}": value for key, value in (line.get("raw") or {}).items()},
        **{f"gradient_share/{key}": value for key, value in (line.get("gradient_shares") or {}).items()},
        "train/skipped": line.get("skipped"),
    }
    if line.get("raw"):
        values["train/pairs"] = line.get("pairs")
    return {k: float(v) for k, v in values.items() if v is not None and math.isfinite(v)}


def hyperparameters(record: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """The settings of a run flat, ``train.lr`` and so on, and its data; what is not set is left out."""
    flat = dict(_flat(record.get("recipe") or {}))
    data = record.get("data") or {}
    flat |= {"data": data.get("content_hash"), "kind": record.get("kind")}
    simple = (str, int, float, bool)
    return {k: v if isinstance(v, simple) else str(v) for k, v in flat.items() if v is not None and v != []}


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(each, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for place, each in enumerate(value):
            yield from _flat(each, f"{prefix}.{place}")
    else:
        yield prefix, value
