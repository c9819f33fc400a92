"""One vector for an image, from any backbone: of a detector or of a feature teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from taco_kd.models import zoo
from taco_kd.models.detector import Detector, FeatureModel
from taco_kd.models.feature_zoo import FEATURE_MODELS, load_features, make_features, name_in
from taco_kd.progress import Tick
from taco_kd.types import FeatureMap

BATCH = 8
LARGEST_SIDE = 320
"""Images are made this small where the model would take larger ones: a vector needs no small objects."""


class Embedder:
    """Mean of the coarsest map of a backbone over its places, for each image.

    Args:
        word: a name of ``taco-kd list models`` (its packaged or published weights), or a run folder, a
            transformers folder or a file of weights.
        device: where to compute.

    Raises:
        UsageError, DataError, MissingResourceError: as loading that model does.
    """

    def __init__(self, word: str, *, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.model = _backbone(word).eval().to(self.device)
        self.side = min(self.model.image_size, LARGEST_SIDE)

    def __call__(self, files: Sequence[Path], on_progress: Tick | None = None) -> NDArray[np.float32]:
        """[N, D] vectors of ``files``, in their order, each image stretched to a square."""
        found = []
        for start in range(0, len(files), BATCH):
            batch = torch.stack([self._image(file) for file in files[start : start + BATCH]])
            with torch.inference_mode():
                maps = self._maps(batch.to(self.device))
            found.append(maps[-1].tensor.mean(dim=(2, 3)).float().cpu().numpy())
            if on_progress is not None:
                on_progress(min(start + BATCH, len(files)), len(files), "embeddings")
        return np.concatenate(found) if found else np.zeros((0, 1), dtype=np.float32)

    def _maps(self, images: Tensor) -> list[FeatureMap]:
        if isinstance(self.model, FeatureModel):
            return list(self.model(images))
        return list(self.model(images, with_features=True).features)

    def _image(self, file: Path) -> Tensor:
        with Image.open(file) as opened:
            opened.draft("RGB", (self.side, self.side))
            image = opened.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def _backbone(word: str) -> Detector | FeatureModel:
    if word in FEATURE_MODELS:
        return make_features(word, weights="published")[0]
    path = Path(word)
    if path.exists() and name_in(path) is not None:
        return load_features(path)[0]
    if path.exists():
        return zoo.load(path)
    return zoo.load(zoo.packaged_file(zoo.find(word)))
