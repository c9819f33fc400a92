"""Weights by one word of the user's; ``packaged`` and ``published`` are those of a model of the table."""

from __future__ import annotations

from taco_kd.errors import UsageError
from taco_kd.models import sources
from taco_kd.models.entry import ModelEntry
from taco_kd.models.families import MODEL_TYPES, find, is_source
from taco_kd.models.stored import Stored


def read(word: str, *, model: str | None = None, wanted_by: str = "--weights") -> Stored:
    """Weights by one word of the user's; ``packaged`` and ``published`` are those of ``model``.

    Raises:
        UsageError: ``model`` has no such weights.
        DataError: the file is damaged.
        MissingResourceError: they are not on this machine, nor to be had.
    """
    if word == "packaged":
        return sources.read_packaged(_entry_for(word, model))
    if word == "published":
        return sources.read_published(_entry_for(word, model), families=MODEL_TYPES, wanted_by=wanted_by)
    return sources.read(word, families=MODEL_TYPES, wanted_by=wanted_by)


def locate(word: str, *, model: str | None = None, wanted_by: str = "--weights") -> None:
    """Make sure that ``read`` will find something, without reading it; raises as ``read`` does."""
    if word == "packaged":
        sources.packaged_file(_entry_for(word, model))
    elif word == "published":
        sources.locate_published(_entry_for(word, model), wanted_by=wanted_by)
    else:
        sources.locate(word, families=MODEL_TYPES, wanted_by=wanted_by)


def _entry_for(word: str, model: str | None) -> ModelEntry:
    if model is None or is_source(model):
        raise UsageError(f"{word} weights are those of a model in taco-kd list models, not of {model}")
    return find(model)
