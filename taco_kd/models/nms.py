"""Raw outputs of dense detectors, which find an object many times, to one box per object."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_convert, clip_boxes_to_image

from taco_kd.types import Detections, DetectorOutput

IOU = 0.7
"""Of two boxes of one class that overlap by more than this, the less certain one is dropped."""
MIN_SCORE = 0.001
"""Candidates below this confidence are not looked at. Both values are those Ultralytics evaluates with."""
MIN_LOGIT = math.log(MIN_SCORE / (1 - MIN_SCORE))
MAX_CANDIDATES = 30_000
"""(box, class) pairs of one image that are looked at, the best first."""
NOTHING = -20.0
"""Logit of a query that sees nothing: a score of 2e-9."""


@torch.no_grad()
def suppressed(output: DetectorOutput, top_k: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each image the ``top_k`` best (anchor, class) pairs that no better one of the class overlaps.

    A box may be kept for several classes, as in Ultralytics' own evaluation (``multi_label``).

    Args:
        output: logits [B, A, C] of a sigmoid head and boxes [B, A, 4] in 0..1.

    Returns:
        Anchors [N], classes [N] and scores [N] of one image after the other, best first.
    """
    for logits, boxes_cxcywh in zip(output.logits.float(), output.boxes_cxcywh.float(), strict=True):
        places = torch.nonzero(logits.amax(-1) > MIN_LOGIT).flatten()  # few, so the rest works on few
        scores = logits[places].sigmoid()
        rows, classes = torch.nonzero(scores > MIN_SCORE, as_tuple=True)
        anchors, found = places[rows], scores[rows, classes]
        if len(found) > MAX_CANDIDATES:
            found, best = found.topk(MAX_CANDIDATES)
            anchors, classes = anchors[best], classes[best]
        corners = box_convert(boxes_cxcywh[anchors], "cxcywh", "xyxy")
        kept = batched_nms(corners, found, classes, IOU)[:top_k]
        yield anchors[kept], classes[kept], found[kept]


@torch.no_grad()
def decode_dense(
    output: DetectorOutput, *, width: float, height: float, top_k: int = 100
) -> list[Detections]:
    """Final boxes of each image, best first, clipped to an image of ``width`` x ``height`` pixels."""
    detections = []
    for boxes, (anchors, classes, scores) in zip(
        output.boxes_cxcywh.float(), suppressed(output, top_k), strict=True
    ):
        corners = box_convert(boxes[anchors], "cxcywh", "xyxy")
        corners = corners * corners.new_tensor([width, height, width, height])
        corners = clip_boxes_to_image(corners, (int(height), int(width)))
        detections.append(Detections(corners.cpu(), scores.cpu(), classes.cpu()))
    return detections


@torch.no_grad()
def one_per_object(output: DetectorOutput, top_k: int = 300) -> DetectorOutput:
    """The anchors that survive, as the queries of a DETR: at most one confident box for an object.

    Images with fewer survivors than others are filled up with queries that see nothing.

    Returns:
        logits [B, Q, C] and boxes [B, Q, 4]; features and losses as they were.
    """
    chosen = [torch.unique(anchors) for anchors, _, _ in suppressed(output, top_k)]
    most = max(1, *(len(anchors) for anchors in chosen))
    logits = output.logits.new_full((len(chosen), most, output.logits.shape[-1]), NOTHING)
    boxes = output.boxes_cxcywh.new_full((len(chosen), most, 4), 0.5)
    for image, anchors in enumerate(chosen):
        logits[image, : len(anchors)] = output.logits[image, anchors]
        boxes[image, : len(anchors)] = output.boxes_cxcywh[image, anchors]
    return DetectorOutput(logits, boxes, output.features, output.losses)
