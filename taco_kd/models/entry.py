"""One line of the table of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from taco_kd.models.detector import Detector, FeatureModel


@dataclass(frozen=True)
class Published:
    """Weights that somebody published: a hub repository at a pinned revision, and their licence."""

    repo: str
    revision: str
    licence: str
    classes: str = "coco-80"
    """label space of the head: a name of ``taco_kd.classes.spaces``, or "" for a backbone"""


@dataclass(frozen=True)
class ModelEntry:
    """A detector that ``taco-kd list models`` shows and ``--model`` takes."""

    name: str
    family: str
    build: Callable[[Sequence[str]], Detector]
    image_size: int
    note: str
    packaged: str | None = None
    """file in ``taco_kd/assets`` that holds weights, if any"""
    published: Published | None = None
    """where weights come from, if somebody published some"""
    licence: str = "Apache-2.0"
    """of the network's code and of its published weights"""


@dataclass(frozen=True)
class FeatureEntry:
    """A feature teacher; it has no classes, so it is built from its name alone."""

    name: str
    family: str
    build: Callable[[], FeatureModel]
    image_size: int
    note: str
    published: Published | None = None
    licence: str = "Apache-2.0"
    size: Mapping[str, Any] = field(default_factory=dict)
    """values of its configuration that tell it from the others of its family"""
    packaged: str | None = None
    """file in ``taco_kd/assets`` that holds weights, if any"""


class Rebuild(Protocol):
    """Builds a network again from the ``architecture`` that its ``metadata`` carried; weights come later."""

    def __call__(
        self,
        architecture: Mapping[str, Any],
        class_names: Sequence[str],
        *,
        model_name: str,
        image_size: int,
    ) -> Detector: ...


@dataclass(frozen=True)
class Family:
    """What one file of ``taco_kd.models`` adds to the zoo; ``name`` is the ``family`` of its detectors."""

    name: str
    entries: tuple[ModelEntry, ...]
    rebuild: Rebuild
    model_types: tuple[str, ...] = ()
    """transformers' names (``model_type`` in a config.json) of the architectures that ``rebuild`` takes"""


class FeatureRebuild(Protocol):
    """Builds a feature teacher again from the ``architecture`` of its metadata or a ``config.json``."""

    def __call__(
        self, architecture: Mapping[str, Any], *, model_name: str, image_size: int
    ) -> FeatureModel: ...


@dataclass(frozen=True)
class FeatureFamily:
    """One kind of feature teacher; ``model_type`` is what transformers calls it in ``config.json``."""

    name: str
    model_type: str
    entries: tuple[FeatureEntry, ...]
    rebuild: FeatureRebuild
