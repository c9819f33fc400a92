"""What the Ultralytics families share: numbered layers, targets in its form, maps taken on their way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from taco_kd.models.detector import Detector
from taco_kd.types import FeatureMap, FeatureSpec, Targets


class LayeredDetector(Detector):
    """A detector whose network is a list of numbered layers, the first of which are its backbone.

    Args:
        backbone: number of its last layer, and of the three whose outputs are C3, C4 and C5.
        channels: of C3, C4 and C5.
    """

    def __init__(
        self, network: Any, *, backbone: tuple[int, tuple[int, ...]], channels: Sequence[int], **kwargs: Any
    ) -> None:
        levels = zip(("C3", "C4", "C5"), channels, (8, 16, 32), strict=True)
        super().__init__(network, features_spec=[FeatureSpec(*level) for level in levels], **kwargs)
        self._last, self._taps = backbone

    def captured(self, wanted: bool) -> AbstractContextManager[list[FeatureMap]]:
        """C3, C4 and C5 of a forward inside the block; none where they are not wanted."""
        return captured([self.network.model[i] for i in self._taps], self.features_spec, wanted)

    def backbone(self) -> nn.Module:
        """The last layer of the backbone; it gives C5."""
        return self.network.model[self._last]  # type: ignore[no-any-return]

    def compiled_parts(self) -> list[nn.Module]:
        """Its layers before the head, each for itself."""
        return list(self.network.model[:-1])

    def is_backbone(self, parameter_name: str) -> bool:
        place = parameter_name.removeprefix("network.").removeprefix("model.").split(".")[0]
        return place.isdecimal() and int(place) <= self._last


def ultralytics_targets(targets: Sequence[Targets], images: Tensor) -> dict[str, Tensor]:
    """``batch_idx`` [N], ``cls`` [N] and ``bboxes`` [N, 4] cxcywh in 0..1 of all images of a batch."""
    device = images.device
    counts = torch.tensor([len(t.class_ids) for t in targets], device=device)
    return {
        "img": images,
        "batch_idx": torch.arange(len(targets), device=device).repeat_interleave(counts),
        "cls": torch.cat([t.class_ids for t in targets]).to(device),
        "bboxes": torch.cat([t.boxes_cxcywh for t in targets]).to(device),
    }


@contextmanager
def captured(
    layers: Sequence[nn.Module], specs: Sequence[FeatureSpec], wanted: bool
) -> Iterator[list[FeatureMap]]:
    """The outputs of ``layers`` in a forward inside the block, as ``specs`` names them: no second forward."""
    maps: dict[int, FeatureMap] = {}
    features: list[FeatureMap] = []
    if not wanted:
        yield features
        return

    def keeper(place: int) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            maps[place] = FeatureMap(output, specs[place].stride, specs[place].name)

        return keep

    handles = [layer.register_forward_hook(keeper(i)) for i, layer in enumerate(layers)]
    try:
        yield features
        features += [maps[i] for i in range(len(layers))]
    finally:
        for handle in handles:
            handle.remove()
