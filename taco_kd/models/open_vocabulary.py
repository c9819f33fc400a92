"""Open-vocabulary detectors of transformers (Grounding DINO, OWL-ViT, OWLv2): boxes for words."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision.ops import clip_boxes_to_image, nms

from taco_kd.errors import DataError, MissingResourceError, UsageError, one_of
from taco_kd.models import hub
from taco_kd.types import Detections

MODEL_TYPES = ("grounding-dino", "mm-grounding-dino", "owlv2", "owlvit")
"""transformers' ``model_type`` of the families that are run here"""
TEXTS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt",
         "special_tokens_map.json", "processor_config.json")  # fmt: skip
"""files of the processor beside config and weights"""
_NMS_IOU = 0.5


def model_type_of(folder: Path) -> str | None:
    """``model_type`` in the folder's config.json; None where it has none that can be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = config.get("model_type") if isinstance(config, dict) else None
    return found if isinstance(found, str) else None


class OpenVocabularyDetector:
    """A zero-shot detector with its own processor, from this machine alone; no code of the folder is run.

    Minderer et al., arXiv:2306.09683 (OWLv2); Liu et al., arXiv:2303.05499 (Grounding DINO).

    Args:
        folder: what ``save_pretrained`` of model and processor wrote.
        min_score: boxes below this confidence (0..1) are not returned.

    Raises:
        UsageError: a model of another kind.
        DataError: the folder is not whole, or its weights do not fit its config.
    """

    def __init__(self, folder: Path, min_score: float = 0.25, *, device: torch.device | str = "cpu") -> None:
        found = model_type_of(folder)
        if found not in MODEL_TYPES:
            raise UsageError(f"{folder}: {one_of('open-vocabulary model type', found, MODEL_TYPES)}")
        self.name, self._grounding = folder.name, "grounding-dino" in found
        self._min_score, self._device = min_score, torch.device(device)
        self._model, self._processor = _load(folder)
        self._model.to(self._device).eval()

    @torch.no_grad()
    def find(self, image: Image.Image, text: str) -> Detections:
        """Boxes of what ``text`` names, in pixels of the image, best first; every class id is 0."""
        words = f"{text.lower()}." if self._grounding else [[f"a photo of {text}"]]
        inputs = self._processor(
            images=image.convert("RGB"), text=words, return_tensors="pt", truncation=True
        ).to(self._device)  # OWL takes 16 tokens: a longer name is cut
        output = self._model(**inputs)
        given = {"input_ids": inputs["input_ids"]} if self._grounding else {}
        (found,) = self._processor.post_process_grounded_object_detection(
            output, threshold=self._min_score, target_sizes=[(image.height, image.width)], **given
        )
        boxes = clip_boxes_to_image(found["boxes"].float().cpu(), (image.height, image.width))
        scores = found["scores"].float().cpu()
        kept = nms(boxes, scores, _NMS_IOU)  # OWL has no NMS of its own
        return Detections(boxes[kept], scores[kept], torch.zeros(len(kept), dtype=torch.long))


def open_open_vocabulary(
    source: str, min_score: float, *, device: torch.device | str = "cpu", wanted_by: str = "--open-vocabulary"
) -> OpenVocabularyDetector:
    """The open-vocabulary detector in a folder, or of a hub name.

    Raises:
        MissingResourceError: neither on this machine nor to be had.
        UsageError, DataError: see :class:`OpenVocabularyDetector`.
    """
    folder = Path(source)
    if not folder.exists():
        name = hub.parse(source)
        if name is None:
            raise MissingResourceError(f"{source}: no such folder, and no hub name (OWNER/REPO)")
        try:
            folder = hub.fetch(name, wanted_by=wanted_by).folder
        except MissingResourceError as error:  # its advice leaves out the tokenizer
            reason = str(error).partition(" Where there is a network")[0]
            local = name.repo.split("/")[1]
            raise MissingResourceError(
                f"{reason} Where there is one: hf download {name.repo} --local-dir {local}, then "
                f"{wanted_by} {local}"
            ) from None
        _fetch_texts(name, folder)
    found = OpenVocabularyDetector(folder, min_score, device=device)
    found.name = source.rstrip("/").rsplit("/", 1)[-1]
    return found


def _fetch_texts(name: hub.HubName, folder: Path) -> None:
    """The tokenizer's files, which a detector of fixed classes does not have and ``hub.fetch`` leaves out."""
    if any((folder / file).is_file() for file in TEXTS):
        return
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(name.repo, revision=folder.name, allow_patterns=list(TEXTS))
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MissingResourceError(
            f"{name}: its tokenizer is not on this machine and cannot be fetched ({reason}); where there is "
            f"a network: hf download {name.repo}"
        ) from None


def _load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForZeroShotObjectDetection, AutoProcessor

    where = str(folder)
    with _quiet():
        try:
            config = AutoConfig.from_pretrained(where, local_files_only=True)
            if hasattr(config, "use_pretrained_backbone"):
                config.use_pretrained_backbone = False
            model, report = AutoModelForZeroShotObjectDetection.from_pretrained(
                where, config=config, local_files_only=True, output_loading_info=True
            )
            processor = AutoProcessor.from_pretrained(where, local_files_only=True)
        except (
            Exception
        ) as error:  # transformers raises OSError, ValueError, KeyError and those of its readers
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(
                f"{where}: transformers cannot load this open-vocabulary detector ({reason}); save model and "
                "processor into one folder with save_pretrained"
            ) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise DataError(
            f"{where}: its weights lack {len(missing)} layers of its config (first: {missing[0]}), which "
            "would be random; save the whole model with save_pretrained"
        )
    return model, processor


@contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging as hf_logging

    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()
