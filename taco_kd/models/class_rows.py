"""Layers with one row per class: which they are, whether they fit, and their rows copied by class name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from taco_kd.models.detector import ImageModel


def is_head(model: ImageModel, key: str, target: Tensor, found: Tensor) -> bool:
    """Whether a layer has one row per class, in both, and the rows are alike."""
    if not any(name in key for name in model.class_layers):
        return False
    return target.dim() > 0 and found.dim() == target.dim() and found.shape[1:] == target.shape[1:]


def fits(target: Tensor, found: Tensor, classes: int, source_classes: int) -> bool:
    """Whether both have one row per class, or both one more, for "no object"."""
    return any(
        target.shape[0] == classes + extra and found.shape[0] == source_classes + extra for extra in (0, 1)
    )


def copy_rows(
    target: Tensor, found: Tensor, rows: Mapping[int, int], classes: Sequence[str], source: Sequence[str]
) -> None:
    """Copy the rows of a head that ``rows`` pairs (ours to the source's), and that of "no object".

    Where both name the same classes in the same order, the whole is copied, whatever the pairs say.
    """
    if tuple(classes) == tuple(source):
        target.copy_(found)
        return
    for to, origin in rows.items():
        target[to] = found[origin]
    if target.shape[0] == len(classes) + 1 and found.shape[0] == len(source) + 1:
        target[-1] = found[-1]  # "no object"
