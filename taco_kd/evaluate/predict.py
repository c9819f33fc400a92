"""Any detector over a split: COCO result rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from PIL import Image

from taco_kd.data.dataset import DetectionDataset
from taco_kd.errors import DataError
from taco_kd.models.detector import Detector
from taco_kd.models.ultralytics_file import BoxDetector
from taco_kd.progress import Tick
from taco_kd.runs import DataDir, Split
from taco_kd.types import Detections

MAX_DETECTIONS = 100
"""COCO evaluates at most this many boxes an image."""

LEAST_SCORE = 0.001
"""Boxes below are not asked for: AP needs the tail of low confidences, but not its end."""

Rows = list[dict[str, Any]]


class Predictor(Protocol):
    """Whatever can be evaluated: finds boxes in every image of a split.

    ``name`` is how results call it, ``class_names`` are its own, in the order of its class ids.
    """

    @property
    def name(self) -> str: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def predict(
        self,
        data: DataDir,
        split: Split,
        categories: Sequence[int | None],
        *,
        on_progress: Tick | None = None,
    ) -> Rows:
        """COCO results: boxes xywh in pixels of the prepared images.

        Args:
            categories: for each of ``class_names`` the dataset's category id, None for boxes to leave out.
        """
        ...


class ModelPredictor:
    """A model of the zoo: batches of prepared images, resized to its own side.

    Args:
        model: the model; it is moved to ``device``.
        name: how results call it.
    """

    def __init__(
        self, model: Detector, name: str, *, batch_size: int = 16, device: torch.device | str = "cpu"
    ) -> None:
        self._model = model.to(device).eval()
        self._device, self._batch_size = device, batch_size
        self.name, self.class_names = name, model.class_names

    @torch.no_grad()
    def predict(
        self,
        data: DataDir,
        split: Split,
        categories: Sequence[int | None],
        *,
        on_progress: Tick | None = None,
        positions: Sequence[int] | None = None,
        dataset: DetectionDataset | None = None,
    ) -> Rows:
        """As the protocol says; with ``positions`` only of the images at these places of the split.

        ``dataset`` is that split at the model's size where it is open already.
        """
        if dataset is None:
            dataset = DetectionDataset(data, split, self._model.image_size)
        rows: Rows = []
        done, total = 0, len(dataset if positions is None else positions)
        for batch in dataset.in_order(self._batch_size, positions):
            output = self._model(batch.images.to(self._device).float() / 255)
            found = self._model.decode(output, width=1.0, height=1.0, top_k=MAX_DETECTIONS)
            for place, detections in zip(batch.positions, found, strict=True):
                rows += _rows(detections, dataset.images[place], categories, fractions=True)
            done += len(batch.positions)
            if on_progress is not None:
                on_progress(done, total)
        return rows


class BoxPredictor:
    """A detector of single pictures; its ``MAX_DETECTIONS`` best boxes of known classes are kept.

    Args:
        detector: returns boxes from ``LEAST_SCORE`` up, or all it has.
    """

    def __init__(self, detector: BoxDetector) -> None:
        self._detector = detector
        self.name, self.class_names = detector.name, detector.class_names

    def predict(
        self,
        data: DataDir,
        split: Split,
        categories: Sequence[int | None],
        *,
        on_progress: Tick | None = None,
    ) -> Rows:
        rows: Rows = []
        images = data.coco(split)["images"]
        for done, (record, image) in enumerate(_opened(data, split, images), start=1):
            found = _rows(self._detector.detect(image), record, categories)
            rows += sorted(found, key=lambda row: -row["score"])[:MAX_DETECTIONS]
            if on_progress is not None:
                on_progress(done, len(images))
        return rows


def predict(
    model: Detector,
    data: DataDir,
    split: Split,
    *,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    on_progress: Tick | None = None,
    positions: Sequence[int] | None = None,
    dataset: DetectionDataset | None = None,
) -> Rows:
    """COCO results of ``model`` on one split: boxes xywh in pixels of the prepared images.

    With ``positions`` only of the images at these places of the split; ``dataset`` is the split where it is
    open already.

    Classes are matched to the dataset's categories by name; a class that the dataset lacks is left out.
    """
    category_of = {c["name"]: int(c["id"]) for c in data.coco(split)["categories"]}
    predictor = ModelPredictor(model, model.model_name, batch_size=batch_size, device=device)
    categories = [category_of.get(name) for name in model.class_names]
    return predictor.predict(
        data, split, categories, on_progress=on_progress, positions=positions, dataset=dataset
    )


def _opened(
    data: DataDir, split: Split, images: Sequence[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], Image.Image]]:
    for record in images:
        path = data.image_file(split, record["file_name"])
        try:
            with Image.open(path) as opened:
                yield record, opened.convert("RGB")
        except OSError as error:
            raise DataError(f"{path}: cannot be decoded ({error}); run taco-kd prepare again") from None


def _rows(
    found: Detections, image: dict[str, Any], categories: Sequence[int | None], *, fractions: bool = False
) -> Rows:
    """Rows of one image; boxes of ``found`` are in its pixels, or in ``fractions`` of it."""
    boxes = found.boxes_xyxy.double()
    if fractions:
        boxes = boxes * boxes.new_tensor([image["width"], image["height"]] * 2)
    boxes = torch.cat([boxes[:, :2], (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)], dim=1)
    rows = []
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
    return rows
