"""Raw outputs to final boxes."""

from __future__ import annotations

import torch
from torchvision.ops import box_convert, clip_boxes_to_image

from taco_kd.types import Detections, DetectorOutput


@torch.no_grad()
def decode(output: DetectorOutput, *, width: float, height: float, top_k: int = 100) -> list[Detections]:
    """The ``top_k`` best (query, class) pairs of each image; DETRs need no NMS.

    Args:
        output: logits [B, Q, C] of a sigmoid head and boxes [B, Q, 4] in 0..1.
        width, height: size in pixels of the image the boxes are wanted in.

    Returns:
        One ``Detections`` per image, best first, boxes clipped to the image.
    """
    scores = output.logits.float().sigmoid().flatten(1)  # [B, Q*C]
    classes = output.logits.shape[-1]
    best, index = scores.topk(min(top_k, scores.shape[1]), dim=1)
    boxes = box_convert(output.boxes_cxcywh.float(), "cxcywh", "xyxy")
    boxes = boxes * boxes.new_tensor([width, height, width, height])
    found = []
    for image in range(len(scores)):
        queries = index[image] // classes
        corners = clip_boxes_to_image(boxes[image][queries], (int(height), int(width)))
        found.append(Detections(corners.cpu(), best[image].cpu(), (index[image] % classes).cpu()))
    return found
