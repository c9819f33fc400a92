"""Nested values with tensors in them, as tensors by name and JSON: so that a checkpoint needs no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Packer:
    """Takes values apart; ``tensors`` is what there was in all of them, each once.

    Tensors come to the CPU. One that is part of a larger one, or not contiguous, is copied; others are not.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[tuple[object, ...], str] = {}
        self._kept: list[Tensor] = []  # alive while their addresses stand for them

    def pack(self, value: object) -> Any:
        """``value`` as JSON that names its tensors.

        Raises:
            TypeError: it holds something else than tensors, numbers, strings, None and containers of them.
        """
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Mapping):
            return {"dict": [[self._key(key), self.pack(each)] for key, each in value.items()]}
        if isinstance(value, tuple):
            return {"tuple": [self.pack(each) for each in value]}
        if isinstance(value, list):
            return [self.pack(each) for each in value]
        if isinstance(value, Tensor):
            return {"tensor": self._name(value.detach())}
        raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")

    @staticmethod
    def _key(key: object) -> int | str:
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise TypeError(f"a checkpoint cannot hold a key of type {type(key).__name__}")
        return key

    def _name(self, tensor: Tensor) -> str:
        storage = tensor.untyped_storage()
        view = (storage.data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        known = (tensor.device, *view) if tensor.numel() else (len(self.tensors),)
        if known not in self._names:
            self._names[known] = name = f"{len(self.tensors):05d}"
            self._kept.append(tensor)
            own = tensor.cpu().contiguous()
            if own.untyped_storage().nbytes() != own.numel() * own.element_size():
                own = own.clone()
            self.tensors[name] = own
        return self._names[known]


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value that ``Packer.pack`` took apart; its tensors are copies.

    Raises:
        ValueError: not something that ``pack`` returns.
        KeyError: a tensor is missing.
    """
    if packed is None or isinstance(packed, bool | int | float | str):
        return packed
    if isinstance(packed, list):
        return [unpack(each, tensors) for each in packed]
    if isinstance(packed, dict) and len(packed) == 1:
        (kind, held), *_ = packed.items()
        if kind == "dict":
            return {key: unpack(each, tensors) for key, each in held}
        if kind == "tuple":
            return tuple(unpack(each, tensors) for each in held)
        if kind == "tensor":
            return tensors[held].clone(memory_format=torch.contiguous_format)
    raise ValueError("values in a form that this version does not know")
