"""Labels as a dataset that detectors train on and ``taco-kd prepare`` reads: images, COCO and YOLO."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from taco_kd.autolabel.naive import LabelledPhoto, NaiveBox, to_coco
from taco_kd.autolabel.remedies import Boxes
from taco_kd.data.yolo_output import label_line
from taco_kd.files import write_json, write_text

IMAGES = "images/train"
ANNOTATIONS = "annotations.json"


def export_labels(
    folder: Path,
    photos: Sequence[LabelledPhoto],
    boxes: Sequence[Boxes],
    classes: Sequence[str],
    root: Path,
    *,
    description: str,
    twin: Path | None = None,
) -> None:
    """Write ``images/train``, ``labels/train`` (YOLO), ``data.yaml`` and ``annotations.json`` (COCO).

    Photos without a label are left out: each shows an item, so as a picture of nothing it would be a wrong
    label too. Images are copied as they are, EXIF and all, never linked to the originals, which trainers
    sometimes rewrite in place.

    Args:
        boxes: the labels of each photo.
        root: where the photos lie.
        twin: an exported folder whose copies of the images may be shared by hard links.
    """
    names = _names([photo.photo.file_name for photo in photos])  # of all, so that twins agree
    index = {name: i for i, name in enumerate(classes)}
    used = []
    for photo, own, name in zip(photos, boxes, names, strict=True):
        if not own:
            continue
        used.append(replace(photo, photo=replace(photo.photo, file_name=name), boxes=own))
        target = folder / IMAGES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(root / photo.photo.file_name, target, twin / IMAGES / name if twin else None)
        label = folder / "labels" / "train" / PurePosixPath(name).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        lines = [_yolo_line(box, index, photo.width, photo.height) for box in own]
        label.write_text("".join(lines), encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ANNOTATIONS, to_coco(used, classes, description=description))
    write_text(folder / "data.yaml", _data_yaml(classes, description))


def _names(file_names: Sequence[str]) -> list[str]:
    """Names whose stems differ, since a YOLO label is found by the stem: a.png beside a.jpg is a_png.png."""
    taken: set[str] = set()
    names = []
    for file_name in file_names:
        path = PurePosixPath(file_name)
        stem = path.with_suffix("").as_posix()
        while stem.casefold() in taken:
            stem += f"_{path.suffix[1:].lower()}"
        taken.add(stem.casefold())
        names.append(stem + path.suffix)
    return names


def _data_yaml(classes: Sequence[str], description: str) -> str:
    """Ultralytics' description of a dataset; a string of JSON is one of YAML too."""
    names = "".join(f"  {i}: {json.dumps(name, ensure_ascii=False)}\n" for i, name in enumerate(classes))
    return (
        f"# {description}\n"
        "# No label here is fit to validate on: val repeats train because trainers ask for one.\n"
        f"train: {IMAGES}\nval: {IMAGES}\nnames:\n{names}"
    )


def _copy(source: Path, target: Path, twin: Path | None) -> None:
    if twin is not None and twin.is_file():
        try:
            os.link(twin, target)
        except OSError:  # a disk without hard links
            pass
        else:
            return
    shutil.copyfile(source, target)


def _yolo_line(box: NaiveBox, index: dict[str, int], width: int, height: int) -> str:
    x1, y1, x2, y2 = box.box_xyxy
    return label_line(index[box.label], (x1, y1, x2 - x1, y2 - y1), width, height) + "\n"
