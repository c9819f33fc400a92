"""Where each setting of a recipe comes from: its file, with the comment beside it, a flag, or the default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tomlkit
from pydantic import BaseModel
from tomlkit.items import AoT, Comment, Table, Whitespace

from taco_kd.config import Recipe, load_recipe, recipe_text

DEFAULT = "default"


@dataclass(frozen=True)
class Setting:
    """One value of a recipe.

    Attributes:
        key: for example ``train.lr``; further teachers are ``also.0``, ``also.1``.
        value: as JSON has it.
        source: ``default``, ``recipe`` (its file), or the flag that set it.
        note: the comment at the value in the recipe's file: in the paper's recipes, where the paper says it.
    """

    key: str
    value: Any
    source: str
    note: str = ""


def resolved(name_or_path: str, flags: Mapping[str, Sequence[str]]) -> tuple[Recipe, list[Setting]]:
    """The recipe, and all its settings in the order of their documentation.

    Args:
        flags: ``key=value`` overrides by the flag that they stand for, the last word last.

    Raises:
        UsageError: see ``load_recipe``.
    """
    recipe = load_recipe(name_or_path, [line for lines in flags.values() for line in lines])
    notes = _notes(tomlkit.parse(recipe_text(name_or_path)))
    settings = []
    for key, value in _leaves(recipe, ""):
        source = "recipe" if key in notes else DEFAULT
        for flag, lines in flags.items():
            if any(_covers(line.partition("=")[0].strip(), key) for line in lines):
                source = flag
        settings.append(Setting(key, value, source, notes.get(key, "") if source == "recipe" else ""))
    return recipe, settings


def _covers(given: str, key: str) -> bool:
    """Whether a value for ``given`` sets ``key``: itself, or a table that holds it."""
    return key == given or key.startswith(f"{given}.")


def _leaves(model: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    """Keys and values; a table that is absent is one value, None."""
    plain = model.model_dump(mode="json")
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for place, each in enumerate(value):
                yield from _leaves(each, f"{prefix}{name}.{place}.")
        else:
            yield f"{prefix}{name}", plain[name]


def _notes(table: tomlkit.TOMLDocument | Table, prefix: str = "") -> dict[str, str]:
    """The comment of each key that is in the file: behind the value, or in lines of its own above it."""
    found: dict[str, str] = {}
    above: list[str] = []
    body = table.body if isinstance(table, tomlkit.TOMLDocument) else table.value.body
    for key, item in body:
        if key is None:
            above = [*above, _words(item.as_string())] if isinstance(item, Comment) else []
            continue
        name = f"{prefix}{key.key}"
        if isinstance(item, Table):
            found |= _notes(item, f"{name}.")
        elif isinstance(item, AoT):
            for place, each in enumerate(item.body):
                found |= _notes(each, f"{name}.{place}.")
        else:
            behind = _words(item.trivia.comment)
            found[name] = " ".join([*above, behind] if behind else above)
            for inner in _inner_keys(item.unwrap(), name):
                found.setdefault(inner, found[name])
        if not isinstance(item, Whitespace):
            above = []
    return found


def _inner_keys(value: Any, prefix: str) -> Iterator[str]:
    """Keys within an inline table or a list of them."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield f"{prefix}.{key}"
        yield from _inner_keys(each, f"{prefix}.{key}")


def _words(comment: str) -> str:
    return comment.strip().removeprefix("#").strip()
