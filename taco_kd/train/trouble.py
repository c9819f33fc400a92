"""A batch whose loss is not finite, kept so that a person can look at it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from taco_kd.data.batch import Batch
from taco_kd.files import replacing, write_json


def save_batch(folder: Path, step: int, batch: Batch, terms: Mapping[str, float]) -> Path:
    """Write the images of ``batch`` as they were trained on, and their boxes, into ``folder/step-N``.

    Returns:
        That folder: ``0.png``, ``1.png``, ... and ``batch.json``.
    """
    target = folder / f"step-{step}"
    target.mkdir(parents=True, exist_ok=True)
    for place, image in enumerate(batch.images):
        with replacing(target / f"{place}.png") as aside:
            Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(aside, format="PNG")
    images = [
        {
            "file": f"{place}.png",
            "image_id": targets.image_id,
            "mirrored": mirrored,
            "boxes_cxcywh": targets.boxes_cxcywh.tolist(),
            "class_ids": targets.class_ids.tolist(),
        }
        for place, (targets, mirrored) in enumerate(zip(batch.targets, batch.mirrored, strict=True))
    ]
    said = {name: str(value) for name, value in terms.items()}  # JSON knows no NaN
    write_json(target / "batch.json", {"step": step, "terms": said, "images": images})
    return target
