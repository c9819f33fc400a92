"""One of our own detectors as the generic detector of the auto-labelling demo."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from taco_kd.models.detector import Detector
from taco_kd.types import Detections


class ModelDetector:
    """A ``BoxDetector`` around a model of the zoo.

    Args:
        model: in eval mode.
        name: what records and figures call it.
    """

    def __init__(self, model: Detector, name: str) -> None:
        self._model = model.eval()
        self._name = name

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._model.class_names

    @property
    def name(self) -> str:
        return self._name

    @torch.no_grad()
    def detect(self, image: Image.Image) -> Detections:
        """Boxes in pixels of ``image``, best first. Overlapping boxes of one query keep their best class."""
        side = self._model.image_size
        pixels = np.array(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        output = self._model(batch)
        best = output.logits.amax(-1, keepdim=True)
        output.logits = output.logits.masked_fill(output.logits < best, -torch.inf)
        return self._model.decode(
            output, width=image.width, height=image.height, top_k=output.logits.shape[1]
        )[0]
