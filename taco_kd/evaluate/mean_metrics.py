"""COCO metrics of an arm: the means over its training seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np

from taco_kd.evaluate.coco_metrics import ClassMetrics, Metrics

M = TypeVar("M", Metrics, ClassMetrics)


def mean_metrics(found: Sequence[Metrics]) -> Metrics:
    """Means of all figures, those of the classes included; what is no figure is the same in all."""
    if len(found) == 1:
        return found[0]
    by_class = zip(*(metrics.per_class for metrics in found), strict=True)
    return replace(_means(found), per_class=tuple(_means(own) for own in by_class))


def _means(found: Sequence[M]) -> M:
    changed: dict[str, Any] = {}
    for each in fields(found[0]):
        values = [getattr(metrics, each.name) for metrics in found]
        known = [value for value in values if value is not None]
        if any(isinstance(value, float) for value in known):
            changed[each.name] = float(np.mean(known))
    return replace(found[0], **changed)
