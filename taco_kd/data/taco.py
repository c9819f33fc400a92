"""The folder that TACO's own download script makes: ``annotations.json`` beside ``batch_*/``.

TACO: Proença and Simões, "Trash Annotations in Context for Litter Detection", 2020, arXiv:2003.06975. Its
``annotations.json`` is COCO with file names such as ``batch_1/000006.jpg`` and with the sizes of the upright
images, whatever the orientation the pixels are stored in.
"""

from __future__ import annotations

from pathlib import Path

from taco_kd.data.coco import read_coco
from taco_kd.data.records import RawDataset
from taco_kd.errors import DataError

ANNOTATIONS = "annotations.json"


def read_taco(root: Path, *, clip_boxes: bool = False, skip_missing: bool = False) -> RawDataset:
    """The dataset in a folder of TACO's layout.

    Raises:
        DataError: the folder has another layout, or see ``read_coco``.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    if not (root / ANNOTATIONS).is_file():
        raise DataError(f"{root}: not TACO's layout: it holds no {ANNOTATIONS} (beside the batch_* folders)")
    return read_coco(root / ANNOTATIONS, root, clip_boxes=clip_boxes, skip_missing=skip_missing)
