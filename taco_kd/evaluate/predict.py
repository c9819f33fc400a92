"""A model over a split: COCO result rows."""

from __future__ import annotations

from typing import Any

import torch

from taco_kd.data.dataset import DetectionDataset
from taco_kd.models.detector import Detector
from taco_kd.progress import Tick
from taco_kd.runs import DataDir, Split

MAX_DETECTIONS = 100
"""COCO evaluates at most this many boxes an image."""


@torch.no_grad()
def predict(
    model: Detector,
    data: DataDir,
    split: Split,
    *,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    on_progress: Tick | None = None,
) -> list[dict[str, Any]]:
    """COCO results of ``model`` on one split: boxes xywh in pixels of the prepared images.

    Classes are matched to the dataset's categories by name; a class that the dataset lacks is left out.
    """
    dataset = DetectionDataset(data, split, model.image_size)
    category_of = dict(zip(dataset.class_names, dataset.category_ids, strict=True))
    categories = [category_of.get(name) for name in model.class_names]
    model = model.to(device).eval()
    rows: list[dict[str, Any]] = []
    place = 0
    for batch in dataset.in_order(batch_size):
        output = model(batch.images.to(device).float() / 255)
        for found in model.decode(output, width=1.0, height=1.0, top_k=MAX_DETECTIONS):
            image = dataset.images[place]
            place += 1
            boxes = found.boxes_xyxy.double()
            boxes = boxes * boxes.new_tensor([image["width"], image["height"]] * 2)
            boxes[:, 2:] -= boxes[:, :2]
            for box, score, class_id in zip(boxes.tolist(), found.scores, found.class_ids, strict=True):
                category = categories[int(class_id)]
                if category is not None:
                    rows.append(
                        {
                            "image_id": image["id"],
                            "category_id": category,
                            "bbox": [round(v, 3) for v in box],
                            "score": round(float(score), 6),
                        }
                    )
        if on_progress is not None:
            on_progress(place, len(dataset))
    return rows
