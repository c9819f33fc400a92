"""A picture of the training images of some steps as a model is given them, with their boxes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from taco_kd.data.batch import WHOLE, Batch
from taco_kd.data.contact_sheet import colour, save_sheet, sheet_of, with_boxes
from taco_kd.data.dataset import DetectionDataset


def write_batch_sheet(dataset: DetectionDataset, batches: Iterable[tuple[int, Batch]], file: Path) -> int:
    """Draw the batches of numbered steps into one picture; how many images it shows."""
    names = dict(enumerate(dataset.class_names))
    colours = {which: colour(which) for which in names}
    pictures, captions = [], []
    for step, batch in batches:
        for place, targets in enumerate(batch.targets):
            corner = targets.boxes_cxcywh[:, :2] - targets.boxes_cxcywh[:, 2:] / 2
            boxes = [
                ([*low, *size], which)
                for low, size, which in zip(
                    corner.tolist(),
                    targets.boxes_cxcywh[:, 2:].tolist(),
                    targets.class_ids.tolist(),
                    strict=True,
                )
            ]
            image = Image.fromarray(batch.images[place].permute(1, 2, 0).numpy())
            pictures.append(with_boxes(image, boxes, names, colours))
            captions.append(f"step {step + 1}: {_words(dataset, batch, place)}")
    save_sheet(sheet_of(pictures, captions), file)
    return len(pictures)


def _words(dataset: DetectionDataset, batch: Batch, place: int) -> str:
    window = batch.windows[place]
    done = ["mirrored"] * batch.mirrored[place]
    if window is None:
        done.append("put together")
    elif window != WHOLE:
        across, down = window[2] - window[0], window[3] - window[1]
        done.append(f"{across:.0%} x {down:.0%} of it")
    elif batch.augmented[place]:
        done.append("distorted or scaled")
    words = f"{Path(dataset.file(batch.positions[place])).name}, {batch.images.shape[-1]} px"
    return ", ".join([words, *done])
