"""Keys of EfficientNet checkpoints from before timm, under timm's names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import Tensor

# Left: what efficientnet_pytorch and efficientnet_lite_pytorch (PyPI) call the parts of a block. A block that
# does not expand its channels has neither the first convolution nor its norm.
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1"}

_BLOCK = re.compile(r"_blocks\.(\d+)\.([^.]+)\.(.+)")


def to_timm_names(state: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """``state`` with the keys of an ``efficientnet_pytorch`` checkpoint renamed to timm's; others unchanged.

    That implementation counts its blocks through (``_blocks.7``), timm by stage (``blocks.3.1``), so the
    depths of the stages are taken from ``own``, the keys of the network that is to be filled. The head
    (``_conv_head``, ``_bn1``, ``_fc``) is no part of a backbone and keeps its names.
    """
    if "_conv_stem.weight" not in state:
        return dict(state)
    places = sorted({(int(m[1]), int(m[2])) for k in own if (m := re.match(r"blocks\.(\d+)\.(\d+)\.", k))})
    return {_renamed(key, state, places): value for key, value in state.items()}


def _renamed(key: str, state: Mapping[str, Tensor], places: list[tuple[int, int]]) -> str:
    block = _BLOCK.fullmatch(key)
    if block is None:
        part, _, rest = key.partition(".")
        return f"{_STEM[part]}.{rest}" if part in _STEM else key
    number = int(block[1])
    parts = _EXPANDING if f"_blocks.{number}._expand_conv.weight" in state else _PLAIN
    if number >= len(places) or block[2] not in parts:
        return key
    stage, index = places[number]
    return f"blocks.{stage}.{index}.{parts[block[2]]}.{block[3]}"
