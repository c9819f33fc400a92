"""The bare Ultralytics network of a YOLO detector, built from numbers alone: no file, no download, no output.

The library is AGPL-3.0 and is imported inside the functions here, when such a model is asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from taco_kd.errors import DataError, one_of
from taco_kd.models.ultralytics_quiet import quiet_ultralytics

GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}
"""Weights of the three loss terms: the defaults of Ultralytics, which YOLOv8 and YOLO11 were trained with."""

NANO_SCALE = (0.33, 0.125, 1024)
"""Depth, width and most channels (before the width) of ``nano``, half as wide as Ultralytics' smallest."""

BACKBONES = {"yolo11": (10, (4, 6, 10)), "yolov8": (9, (4, 6, 9))}
"""Index of the last layer of the backbone, and of those whose outputs are C3, C4 and C5."""


@dataclass(frozen=True)
class YoloShape:
    """What a YOLO network is built from, apart from its classes.

    Attributes:
        base: ``yolo11`` or ``yolov8``.
        scale: ``n``, ``s``, ``m``, ``l``, ``x``, or our own ``nano``.
        class_width: channels of the hidden layers of the class branch; Ultralytics derives them from the
            number of classes, max(first width, min(classes, 100)), so a checkpoint of other classes may
            have others. None for what it derives.
        fused: each convolution has a bias in place of a batch norm, as in deployed files.
    """

    base: str
    scale: str
    class_width: int | None = None
    fused: bool = False

    def __post_init__(self) -> None:
        if self.base not in BACKBONES:
            raise DataError(one_of("YOLO architecture", self.base, BACKBONES))
        if self.scale not in (*"nsmlx", "nano"):
            raise DataError(one_of(f"scale of {self.base}", self.scale, (*"nsmlx", "nano")))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def build_network(shape: YoloShape, classes: int) -> Any:
    """``ultralytics.nn.tasks.DetectionModel`` of that shape with random weights.

    It carries the loss gains, so that its ``init_criterion`` gives Ultralytics' own criterion.
    """
    with quiet_ultralytics():
        from ultralytics.nn.tasks import DetectionModel
        from ultralytics.utils import ROOT, YAML

    folder = {"yolo11": "11", "yolov8": "v8"}[shape.base]
    layers = YAML.load(ROOT / "cfg" / "models" / folder / f"{shape.base}.yaml")
    layers["scales"]["nano"] = list(NANO_SCALE)
    layers["scale"] = shape.scale
    width = shape.class_width
    network = DetectionModel(layers, nc=width or classes, verbose=False)
    network.args = SimpleNamespace(**GAINS)
    if width is not None:
        _end_in(network, classes)
        if class_width(network.state_dict()) != width:
            raise DataError(f"{shape.base}-{shape.scale}: its class branch cannot be {width} channels wide")
    if shape.fused:
        network.fuse(verbose=False)
        for name, parameter in network.named_parameters():  # fusing freezes what it fuses
            parameter.requires_grad_(".dfl." not in name)
    return network


def _end_in(network: Any, classes: int) -> None:
    """Give the class branch ``classes`` outputs; its hidden layers stay as wide as they are."""
    head = network.model[-1]
    for branch, stride in zip(head.cv3, head.stride.tolist(), strict=True):
        branch[-1] = nn.Conv2d(branch[-1].in_channels, classes, 1)
        # a rare positive to start from: 5 objects in an image of 640 px, as Detect.bias_init has it
        nn.init.constant_(branch[-1].bias, math.log(5 / classes / (640 / stride) ** 2))
    head.nc, head.no = classes, classes + 4 * head.reg_max
    network.yaml["nc"], network.names = classes, {i: str(i) for i in range(classes)}


def is_fused(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is of a network whose batch norms were folded into its convolutions."""
    return "model.0.conv.bias" in state and "model.0.bn.weight" not in state


def class_width(state: Mapping[str, Tensor]) -> int | None:
    """Channels of the hidden layers of the class branch; None where the state dict is of no such network."""
    for key, value in state.items():
        if re.fullmatch(r"model\.\d+\.cv3\.0\.2\.weight", key) and value.ndim == 4:
            return int(value.shape[1])
    return None
