"""The dataset as Ultralytics reads it, without a byte of it written anywhere but in the run folder."""

from __future__ import annotations

from pathlib import Path

import yaml

from taco_kd.files import write_text
from taco_kd.runs import SPLITS, DataDir, Split


def write_data(folder: Path, data: DataDir, train: DataDir, look: tuple[DataDir, Split] | None) -> Path:
    """Links to images and labels, lists of them, and the ``data.yaml`` that names these.

    Ultralytics keeps what it read of the labels in a file beside their folder; through the links this is
    inside ``folder``.

    Args:
        data: the whole dataset.
        train: whose train split is trained on.
        look: what is evaluated on each epoch; None evaluates on some training images, which nothing uses.
    """
    for split in SPLITS:
        for name, target in (("images", data.images_dir(split)), ("labels", data.labels_dir(split))):
            link = folder / name / split
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target.resolve(), target_is_directory=True)
    trained = _names(train, "train")
    seen = trained[:16] if look is None else _names(*look)
    write_text(folder / "train.txt", "".join(f"./images/{name}\n" for name in trained))
    write_text(folder / "val.txt", "".join(f"./images/{name}\n" for name in seen))
    document = {
        "path": str(folder.resolve()),
        "train": "train.txt",
        "val": "val.txt",
        "names": dict(enumerate(data.class_names)),
    }
    file = folder / "data.yaml"
    write_text(file, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return file


def _names(data: DataDir, split: Split) -> list[str]:
    return [f"{split}/{image['file_name']}" for image in data.coco(split)["images"]]
