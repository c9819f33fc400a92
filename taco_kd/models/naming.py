"""The names in a file, turned into the names of the network that takes its weights; never silently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from taco_kd.models.original_names import convert, recognise


def translate(state: Mapping[str, Tensor], network: nn.Module) -> tuple[dict[str, Tensor], str]:
    """``state`` under the network's own names, and in words what was renamed ("" where nothing was).

    Two renamings are known: from the original authors' names, and from those in transformers' files, which
    are older than the names of its modules. Whatever neither explains keeps its name, and is then reported
    as unexpected.
    """
    original = recognise(state)
    words = []
    if original is not None:
        state = convert(state, original)
        words.append(f"{original.words} converted")
    own = network.state_dict().keys()
    rename = _transformers_rules(network)
    found: dict[str, Tensor] = {}
    renamed = 0
    for key, value in state.items():
        new = key
        if key not in own:
            for rule in rename:
                new, _ = rule.rename_source_key(new)
            new = new if new in own else key
        renamed += new != key
        found[new] = value
    if renamed and original is None:
        words.append(f"{renamed} names of transformers' files turned into those of its modules")
    return found, "; ".join(words)


def change_prefix(
    state: Mapping[str, Tensor], *, strip: str = "", add: str = ""
) -> tuple[dict[str, Tensor], str]:
    """Keys without the prefix ``strip``, where they have it, then with ``add`` before them; and in words."""
    changed = {add + key.removeprefix(strip): value for key, value in state.items()}
    words = []
    if strip:
        words.append(f"prefix {strip!r} taken off {sum(k.startswith(strip) for k in state)} keys")
    if add:
        words.append(f"prefix {add!r} put before {len(state)} keys")
    return changed, "; ".join(words)


def prefix_hint(state: Mapping[str, Tensor], network: nn.Module) -> str:
    """The option that would make most keys of ``state`` fit, where a prefix is all that is wrong; else "".

    A checkpoint saved from a wrapped module (``module.``), or from a part of a model, loads nothing: the
    commonest way for weights not to arrive.
    """
    own = set(network.state_dict())
    plain = sum(key in own for key in translate(state, network)[0])
    best, option = max(plain, len(state) // 2), ""
    for prefix in _beginnings(state):
        count = sum(key in own for key in translate(change_prefix(state, strip=prefix)[0], network)[0])
        if count > best:
            best, option = count, f"--strip-prefix {prefix}"
    for prefix in _beginnings(own):
        count = sum(key in own for key in translate(change_prefix(state, add=prefix)[0], network)[0])
        if count > best:
            best, option = count, f"--add-prefix {prefix}"
    return f"{best} of its {len(state)} keys would fit with {option}" if option else ""


def common_beginning(keys: Sequence[str]) -> str:
    """The dotted beginning that all keys share, with its last dot; "" where they share none."""
    if not keys:
        return ""
    parts = [key.split(".") for key in keys]
    depth = 0
    while all(len(p) > depth + 1 and p[depth] == parts[0][depth] for p in parts):
        depth += 1
    return "".join(f"{part}." for part in parts[0][:depth])


def _beginnings(keys: Iterable[str]) -> list[str]:
    """Dotted beginnings, one to three parts long, that most of the keys share."""
    keys = list(keys)
    counts: dict[str, int] = {}
    for key in keys:
        parts = key.split(".")
        for depth in range(1, min(4, len(parts))):
            beginning = ".".join(parts[:depth]) + "."
            counts[beginning] = counts.get(beginning, 0) + 1
    return [beginning for beginning, count in counts.items() if count > len(keys) / 2]


def _transformers_rules(network: nn.Module) -> list[Any]:
    from transformers import PreTrainedModel
    from transformers.conversion_mapping import get_model_conversion_mapping

    if not isinstance(network, PreTrainedModel):
        return []
    return [rule for rule in get_model_conversion_mapping(network) if not hasattr(rule, "operations")]
