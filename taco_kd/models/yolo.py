"""YOLO11 and YOLOv8 through Ultralytics (AGPL-3.0): its bare network and its criterion, in our loop.

YOLOv8: Jocher et al., 2023; YOLO11: Jocher and Qiu, 2024; both github.com/ultralytics/ultralytics, no paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor
from torchvision.ops import box_convert

from taco_kd.errors import DataError
from taco_kd.models.entry import Family, ModelEntry
from taco_kd.models.nms import decode_dense, one_per_object
from taco_kd.models.ultralytics_forward import LayeredDetector, ultralytics_targets
from taco_kd.models.ultralytics_quiet import LICENCE
from taco_kd.models.yolo_network import (
    BACKBONES,
    YoloShape,
    build_network,
    class_width,
    is_fused,
)
from taco_kd.types import Detections, DetectorOutput, Targets


class Yolo(LayeredDetector):
    """A YOLO detector; its weights take RGB in 0..1 without mean and std, at sides that 32 divides.

    One query is one cell of the three output grids, fine to coarse and row by row: 8400 at 640 px. Features
    are the outputs of the backbone, before the neck: C3 and C4 after their C3k2 or C2f block, C5 after SPPF
    (YOLOv8) or C2PSA (YOLO11).

    Args:
        shape: what the network is built from.
        class_names: one per logit, in order.
    """

    family = "yolo"
    class_layers = (".cv3.0.2.", ".cv3.1.2.", ".cv3.2.2.")
    dense = True
    divides_by_predictions = True

    def __init__(
        self, shape: YoloShape, class_names: Sequence[str], *, model_name: str, image_size: int
    ) -> None:
        self.shape = shape
        network = build_network(shape, len(class_names))
        backbone = BACKBONES[shape.base]
        super().__init__(
            network,
            backbone=backbone,
            channels=[_out_channels(network.model[i]) for i in backbone[1]],
            class_names=class_names,
            model_name=model_name,
            image_size=image_size,
        )

    def forward(
        self,
        images: Tensor,
        targets: Sequence[Targets] | None = None,
        *,
        with_features: bool = False,
        with_encoder: bool = False,
        with_attention: bool = False,
    ) -> DetectorOutput:
        """One pass over ``images`` [B, 3, H, W]; with ``targets`` also the detection loss.

        Boxes are clipped to the image. The terms ``box`` (CIoU), ``cls`` (BCE) and ``dfl`` are Ultralytics',
        with its weights, for the batch as a whole: it multiplies their sum by the batch size before the
        gradient, which is undone here, so that they do not grow with the batch.
        """
        with self.captured(with_features) as features:
            raw = self.network(self.normalised(images))
        predictions = raw if self.training else raw[1]
        head = self.network.model[-1]
        boxes = head._get_decode_boxes(predictions) if self.training else raw[0][:, :4]
        losses: dict[str, Tensor] = {}
        divisors: list[Tensor] = []
        if targets is not None:
            batch = ultralytics_targets(targets, images)
            criterion = self.network.init_criterion()
            criterion.assigner.register_forward_hook(lambda *call: divisors.append(call[2][2].sum()))
            sums, _ = criterion(predictions, batch)
            terms = sums / len(images)
            losses = {"box": terms[0], "cls": terms[1], "dfl": terms[2]}
        return DetectorOutput(
            predictions["scores"].transpose(1, 2),
            _clipped(boxes.transpose(1, 2), images),
            features,
            losses,
            divisor=divisors[0] if divisors else None,
        )

    def decode(
        self, output: DetectorOutput, *, width: float, height: float, top_k: int = 100
    ) -> list[Detections]:
        """Final boxes of each image, best first, after NMS within each class (IoU 0.7, score over 0.001)."""
        return decode_dense(output, width=width, height=height, top_k=top_k)

    def normaliser(self, targets: Sequence[Targets]) -> float:
        """Its images: Ultralytics divides by what the assigner gave, which only the predictions tell.

        Several processes tell each other that (``DetectorOutput.divisor``). Micro-batches count by their
        images, as in its own training.
        """
        return float(len(targets))

    def as_queries(self, output: DetectorOutput) -> DetectorOutput:
        """One query for each object, by NMS: what a teacher tells a student."""
        return one_per_object(output)

    def adapt_to(self, state: Mapping[str, Tensor]) -> list[str]:
        """Take over the layout of the network ``state`` is from: fused or not, width of the class branch.

        Weights are drawn anew. A fused checkpoint has no batch norms to train, and none are invented: an
        identity in their place would be normalised away by the first batch. It is fine-tuned as it is,
        which equals training with frozen statistics.
        """
        width = class_width(state)
        if width is None:
            return []
        shape, words = YoloShape(self.shape.base, self.shape.scale, width, is_fused(state)), []
        if shape.fused and not self.shape.fused:
            words.append("batch norms are folded into its convolutions, so the model has none either")
        own = class_width(self.network.state_dict())
        if width != own:
            words.append(f"class branch made {width} channels wide, as in the source ({own} otherwise)")
        if words or shape.fused != self.shape.fused:
            try:
                self.network = build_network(shape, len(self.class_names))
            except DataError:  # of another scale: the report of the load will say what does not fit
                return []
            self.shape = shape
        return words

    def architecture(self) -> Mapping[str, Any]:
        return self.shape.to_json()


def _out_channels(block: Any) -> int:
    return int(block.cv2.conv.out_channels)


def _clipped(boxes_cxcywh: Tensor, images: Tensor) -> Tensor:
    """Boxes in pixels to fractions of the image, within it."""
    height, width = images.shape[-2:]
    corners = box_convert(boxes_cxcywh, "cxcywh", "xyxy") / boxes_cxcywh.new_tensor([width, height] * 2)
    clipped: Tensor = box_convert(corners.clamp(0, 1), "xyxy", "cxcywh")
    return clipped


def _build(class_names: Sequence[str], *, base: str, scale: str, name: str, image_size: int) -> Yolo:
    return Yolo(YoloShape(base, scale), class_names, model_name=name, image_size=image_size)


def rebuild(
    architecture: Mapping[str, Any], class_names: Sequence[str], *, model_name: str, image_size: int
) -> Yolo:
    """The network that a checkpoint of any size describes."""
    return Yolo(YoloShape(**architecture), class_names, model_name=model_name, image_size=image_size)


def _entry(name: str, base: str, scale: str, image_size: int, note: str) -> ModelEntry:
    return ModelEntry(
        name,
        {"yolo11": "YOLO11", "yolov8": "YOLOv8"}[base],
        partial(_build, base=base, scale=scale, name=name, image_size=image_size),
        image_size,
        note,
        licence=LICENCE,
    )


ENTRIES = (
    _entry("yolo11-nano", "yolo11", "nano", 192, "half as wide as YOLO11n: trains on two CPU cores"),
    *(
        _entry(
            f"yolo11{scale}", "yolo11", scale, 640, "the paper's YOLO baseline" if scale == "l" else "YOLO11"
        )
        for scale in "nsmlx"
    ),
    *(_entry(f"yolov8{scale}", "yolov8", scale, 640, "YOLOv8") for scale in "nsmlx"),
)

FAMILY = Family(Yolo.family, ENTRIES, rebuild)
