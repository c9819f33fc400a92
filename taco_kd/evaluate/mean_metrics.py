"""COCO metrics of an arm: the means over its training seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from taco_kd.evaluate.coco_metrics import Metrics


def mean_metrics(found: Sequence[Metrics]) -> Metrics:
    """Means of all figures, classes included; what is no figure is that of the first, being equal in all."""
    first = found[0]
    if len(found) == 1:
        return first
    changed: dict[str, Any] = {}
    for each in fields(Metrics):
        values = [getattr(metrics, each.name) for metrics in found]
        if any(isinstance(value, float) for value in values):
            changed[each.name] = _mean(values)
    changed["per_class"] = tuple(
        replace(own[0], ap=_mean([one.ap for one in own]))
        for own in zip(*(metrics.per_class for metrics in found), strict=True)
    )
    return replace(first, **changed)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
