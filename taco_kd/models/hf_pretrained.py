"""Any transformers object detector with its own image processor: a saved folder, or a hub name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from taco_kd.errors import DataError, UsageError
from taco_kd.types import Detections


class HFFolderDetector:
    """A detector as transformers' ``AutoModelForObjectDetection`` loads it, from this machine alone.

    Pictures go through the model's own image processor, so that size and normalisation are those it was
    trained with. Nothing is downloaded, and no code from the folder is run.

    Args:
        folder: holds ``config.json``, weights and ``preprocessor_config.json``.
        min_score: boxes below this confidence (0..1) are not returned.
        device: where it runs.

    Raises:
        UsageError: it is no object detector.
        DataError: the folder is not whole, or its weights do not fit its config.
    """

    def __init__(self, folder: Path, min_score: float = 0.001, *, device: torch.device | str = "cpu") -> None:
        self.name = folder.name
        self._min_score, self._device = min_score, torch.device(device)
        self._model, self._processor = _load(folder)
        self._model.to(self._device).eval()
        labels = {int(k): str(v) for k, v in self._model.config.id2label.items()}
        self._index = {key: i for i, key in enumerate(sorted(labels))}
        self.class_names = tuple(labels[key] for key in sorted(labels))

    @torch.no_grad()
    def detect(self, image: Image.Image) -> Detections:
        """Boxes of one upright RGB image, in its own pixels, best first."""
        inputs = self._processor(images=image.convert("RGB"), return_tensors="pt").to(self._device)
        output = self._model(**inputs)
        (found,) = self._processor.post_process_object_detection(
            output, threshold=self._min_score, target_sizes=[(image.height, image.width)]
        )
        labels, scores = found["labels"].cpu(), found["scores"].float().cpu()
        known = torch.tensor([int(label) in self._index for label in labels], dtype=torch.bool)
        order = torch.argsort(scores[known], descending=True, stable=True)
        class_ids = torch.tensor([self._index[int(label)] for label in labels[known]], dtype=torch.long)
        return Detections(found["boxes"].float().cpu()[known][order], scores[known][order], class_ids[order])


def _load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForObjectDetection
    from transformers.utils import logging as hf_logging

    where = str(folder)
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(where, local_files_only=True)
        if hasattr(config, "use_pretrained_backbone"):
            config.use_pretrained_backbone = False  # the weights hold it; else timm looks for its own
        model, report = AutoModelForObjectDetection.from_pretrained(
            where, config=config, local_files_only=True, output_loading_info=True
        )
        processor = AutoImageProcessor.from_pretrained(where, local_files_only=True)
    except Exception as error:  # transformers raises OSError, ValueError, KeyError and those of its readers
        raise _explained(folder, error) from None
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()
    missing = sorted(report["missing_keys"])
    if missing:
        raise DataError(
            f"{where}: its weights lack {len(missing)} layers of its config (first: {missing[0]}), which "
            "would be random; save the whole model with save_pretrained"
        )
    return model, processor


def _explained(folder: Path, error: Exception) -> DataError | UsageError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, ValueError) and "Unrecognized configuration class" in str(error):
        return UsageError(f"{folder}: is no object detector that transformers knows ({reason[:80]}...)")
    if not (folder / "preprocessor_config.json").is_file():
        return DataError(
            f"{folder}: has no preprocessor_config.json; save its image processor into the folder too: "
            "processor.save_pretrained(folder)"
        )
    return DataError(f"{folder}: transformers cannot load this detector ({reason})")
