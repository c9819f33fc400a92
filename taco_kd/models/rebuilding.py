"""A network built again from what its weights say of it, and layers drawn from a seed of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from taco_kd.errors import DataError, UsageError
from taco_kd.models.detector import Detector
from taco_kd.models.families import FAMILIES
from taco_kd.models.stored import Stored


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Draw initial values from ``seed``; the generator of the caller goes on where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def rebuilt(stored: Stored, class_names: Sequence[str], *, seed: int = 0) -> Detector:
    """The network that a source describes, with these classes and random weights.

    Raises:
        UsageError: the source does not say what it holds.
        DataError: it holds a model of a family that there is not.
    """
    blueprint = stored.blueprint
    if blueprint is None:
        raise UsageError(
            f"{stored.label}: does not say which architecture it holds ({stored.kind}); "
            f"choose a model of taco-kd list models and give this as its weights"
        )
    family = FAMILIES.get(blueprint.family)
    if family is None:
        raise DataError(
            f"the model {blueprint.model_name!r} is of a family we do not know: {blueprint.family}"
        )
    with drawn_from(seed):
        model = family.rebuild(
            blueprint.architecture,
            class_names,
            model_name=blueprint.model_name,
            image_size=blueprint.image_size,
        )
    take_input(model, stored)
    return model


def take_input(model: Detector, stored: Stored) -> None:
    """Size and normalisation belong to the weights: they were trained on images prepared so."""
    if stored.blueprint is not None:
        model.image_size = stored.blueprint.image_size
        model.set_normalisation(stored.blueprint.mean, stored.blueprint.std)
