"""One look at a model in the middle of its training: AP on the images that are there for it."""

from __future__ import annotations

from pathlib import Path

from taco_kd.data.dataset import DetectionDataset, UnreadableImageError
from taco_kd.data.part import part_of
from taco_kd.errors import DataError
from taco_kd.evaluate.coco_metrics import Metrics, evaluate_coco
from taco_kd.evaluate.predict import Rows, predict
from taco_kd.models.detector import Detector
from taco_kd.progress import Tick, warn
from taco_kd.runs import DataDir, Split
from taco_kd.train.undisturbed import undisturbed


class Look:
    """Evaluates models on one split of ``data``; decoded images are kept from one time to the next.

    Raises:
        DataError: no box lies in the images.
    """

    def __init__(self, data: DataDir, split: Split) -> None:
        self._data, self._split = data, split
        self._truth = data.coco(split)
        self._dataset: DetectionDataset | None = None
        if not self._truth["annotations"]:
            raise DataError(
                f"{data.path}: no box lies in the {self.images} images to choose on: put more aside with "
                "train.hold_out"
            )

    @property
    def images(self) -> int:
        return len(self._truth["images"])

    def __call__(self, model: Detector, step: int, tick: Tick) -> Metrics:
        """What the model finds now. It and the random generators are afterwards as they were.

        An image that cannot be read any more is left out from now on; a model whose boxes cannot be used,
        because they are not finite, finds nothing.
        """
        while True:
            try:
                with undisturbed(model):
                    return evaluate_coco(self._truth, self._rows(model, step, tick))
            except UnreadableImageError as error:
                self._leave_out(error)

    def _rows(self, model: Detector, step: int, tick: Tick) -> Rows:
        if self._dataset is None:
            self._dataset = DetectionDataset(self._data, self._split, model.image_size)
        device = next(model.parameters()).device
        try:
            return predict(
                model, self._data, self._split, device=device, on_progress=tick, dataset=self._dataset
            )
        except ValueError as error:  # what a detection may not hold
            warn(f"step {step}: the model gives no usable boxes ({error}); counted as AP 0")
            return []

    def _leave_out(self, error: UnreadableImageError) -> None:
        name = Path(error.file).name
        kept = frozenset(i["id"] for i in self._truth["images"] if i["file_name"] != name)
        if not kept or len(kept) == self.images:
            raise error
        warn(f"{error}; it is left out of the evaluations during this run")
        self._data = part_of(self._data, self._split, kept)
        self._truth, self._dataset = self._data.coco(self._split), None
