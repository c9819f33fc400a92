"""``pseudo_label``: a detector, validation data and unlabelled images in; a dataset to train on out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from taco_kd.autolabel.pseudo.detect import detect
from taco_kd.autolabel.pseudo.images import Prepared, prepare_images
from taco_kd.autolabel.pseudo.thresholds import Threshold, choose_thresholds, gather
from taco_kd.data.mixture import KIND, PRINTS
from taco_kd.data.output import output_name
from taco_kd.data.overlap import copies, prints_of_split
from taco_kd.data.staging import folder_that_becomes
from taco_kd.environment import describe
from taco_kd.errors import DataError, UsageError
from taco_kd.evaluate.classes import ClassMatch, match_classes
from taco_kd.files import sha256_file, sha256_json, write_json
from taco_kd.models.ultralytics_file import BoxDetector
from taco_kd.progress import Tick
from taco_kd.runs import DataDir, claim

_WHAT = "pseudo-labelled dataset"


@dataclass(frozen=True)
class PseudoOptions:
    """How labels are chosen.

    Attributes:
        target_precision: share of the labels that shall be right, on the validation data, at an IoU of 0.5.
        min_evidence: detections that must speak for a threshold of a class's own.
        nms_iou: of boxes of any class that overlap by more, only the best stays; 1 keeps all.
        keep_empty: also take images in which nothing is sure enough, as pictures of nothing.
    """

    target_precision: float = 0.8
    min_evidence: int = 10
    nms_iou: float = 0.7
    keep_empty: bool = False


@dataclass(frozen=True)
class PseudoResult:
    """What was written, and why the rest was not."""

    data: DataDir
    thresholds: tuple[Threshold, ...]
    together: Threshold
    classes: ClassMatch
    images: int
    labels: int
    left_out: Mapping[str, int]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows for people: the threshold of each class and what it rests on."""
        counts = self.data.record()["counts"]["train"]["boxes_per_class"]
        header = ["class", "confidence", "from", "right on validation", "95 %", "labels", "why"]
        rows = []
        for t in (*self.thresholds, self.together):
            share = "n/a" if t.precision is None else f"{t.hits} / {t.detections}"
            interval = (
                "n/a" if t.interval is None else "{:.0f} to {:.0f} %".format(*(100 * v for v in t.interval))
            )
            value = "–" if t.value is None else f"{t.value:.2f}"
            labels = str(self.labels if t is self.together else counts[t.name])
            rows.append(
                [t.name, value, "pooled" if t is self.together else t.source, share, interval, labels, t.why]
            )
        return header, rows

    def line(self) -> str:
        """The result in one sentence."""
        out = ", ".join(f"{count} {why}" for why, count in self.left_out.items() if count)
        return f"{self.labels} pseudo-labels on {self.images} images" + (f"; left out: {out}" if out else "")


def pseudo_label(
    detector: BoxDetector,
    sources: Sequence[Path],
    validation: DataDir,
    out: Path,
    *,
    options: PseudoOptions | None = None,
    renamed: Mapping[str, str] | None = None,
    origin: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    on_progress: Tick | None = None,
) -> PseudoResult:
    """Label ``sources`` with ``detector`` and write them as a dataset with a train split alone.

    The images are made as those of ``validation`` are (upright, its size), so that the thresholds hold for
    them. Images that lie in its validation split, as the same file or another copy of the same picture, are
    never labelled; those of its train split have labels already, and are left out too.

    Args:
        sources: image files; those that cannot be decoded are set aside with the reason.
        validation: chooses the thresholds, and gives classes and image size.
        renamed: the detector's class name to the dataset's.
        origin: what the record says of the detector (its source and hash).

    Raises:
        UsageError: ``out`` holds something else, or an option is out of range.
        DataError: not one class is shared, the target is out of reach, or not one image is left.
    """
    options = options or PseudoOptions()
    if not 0 < options.target_precision <= 1 or options.min_evidence < 1 or not 0 < options.nms_iou <= 1:
        raise UsageError("target precision and NMS IoU lie above 0 and up to 1, min evidence is at least 1")
    if not (overwrite and (out / "dataset.json").is_file()):
        claim(out, record_name="dataset.json", overwrite=False, what=_WHAT)
    coco = validation.coco("val")
    names = {int(c["id"]): str(c["name"]) for c in coco["categories"]}
    classes = match_classes(detector.class_names, names, renamed=renamed, name=detector.name)
    results = _on_validation(detector, validation, coco, classes, options, on_progress)
    together, thresholds = choose_thresholds(
        *gather(coco, results), precision=options.target_precision, least=options.min_evidence
    )
    with folder_that_becomes(out) as folder:
        data = DataDir(folder)
        prepared, bad = _prepare(sources, data, validation, on_progress)
        kept, left_out = _new_ones(prepared, validation)
        left_out["unreadable"] = len(bad)
        values = {t.name: t.value for t in thresholds}
        minimum = {category: values[name] for category, name in names.items()}
        rows: list[tuple[Prepared, list[dict[str, Any]]]] = []
        for done, image in enumerate(kept, start=1):
            found = detect(detector, image.print.path, classes.categories, nms_iou=options.nms_iou)
            sure = [r for r in found if _reaches(r["score"], minimum[r["category_id"]])]
            if sure or options.keep_empty:
                rows.append((image, sure))
            else:
                left_out["with nothing sure enough"] += 1
                image.print.path.unlink()
            if on_progress is not None:
                on_progress(done, len(kept), "labelling")
        if not rows:
            raise DataError(f"not one image is left to train on ({_counted(left_out)} of {len(sources)})")
        _write(
            data,
            rows,
            coco["categories"],
            validation,
            detector,
            options,
            thresholds,
            together,
            left_out,
            bad,
            origin,
        )
    written = DataDir.open(out)
    labels = sum(len(found) for _, found in rows)
    return PseudoResult(written, tuple(thresholds), together, classes, len(rows), labels, left_out)


def _reaches(score: float, threshold: float | None) -> bool:
    return threshold is not None and score >= threshold


def _counted(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {why}" for why, count in left_out.items() if count)


def _on_validation(
    detector: BoxDetector,
    validation: DataDir,
    coco: Mapping[str, Any],
    classes: ClassMatch,
    options: PseudoOptions,
    on_progress: Tick | None,
) -> list[dict[str, Any]]:
    results = []
    for done, image in enumerate(coco["images"], start=1):
        path = validation.image_file("val", image["file_name"])
        for row in detect(detector, path, classes.categories, nms_iou=options.nms_iou):
            results.append({"image_id": image["id"], **row})
        if on_progress is not None:
            on_progress(done, len(coco["images"]), "validation")
    return results


def _prepare(
    sources: Sequence[Path], data: DataDir, validation: DataDir, on_progress: Tick | None
) -> tuple[list[Prepared], list[str]]:
    """The images that can be used, and a line for each that cannot."""
    record = validation.record()
    size, mode = int(record["image_size"]), record.get("config", {}).get("mode", "stretch")
    names = [output_name(number) for number in range(1, len(sources) + 1)]
    prepared, bad = [], []
    for done, found in enumerate(
        prepare_images(list(sources), size, data.images_dir("train"), names, mode), start=1
    ):
        if isinstance(found, Prepared):
            prepared.append(found)
        else:
            bad.append(found[1])
        if on_progress is not None:
            on_progress(done, len(sources), "reading images")
    return prepared, bad


def _new_ones(prepared: list[Prepared], validation: DataDir) -> tuple[list[Prepared], Counter[str]]:
    """Images that are in neither split of ``validation``, each once; the others are deleted and counted."""
    prints = [image.print for image in prepared]
    reasons: dict[int, str] = {}
    for place in copies(prints, prints_of_split(validation, "train")):
        reasons[place] = "labelled already (train)"
    for place in copies(prints, prints_of_split(validation, "val")):
        reasons[place] = "in the validation split"
    seen: set[str] = set()
    for place, own in enumerate(prints):
        if place not in reasons and own.hashes & seen:
            reasons[place] = "repeated"
        seen |= own.hashes
    for place in reasons:
        prints[place].path.unlink()
    return [image for place, image in enumerate(prepared) if place not in reasons], Counter(reasons.values())


def _write(
    data: DataDir,
    rows: Sequence[tuple[Prepared, list[dict[str, Any]]]],
    categories: list[dict[str, Any]],
    validation: DataDir,
    detector: BoxDetector,
    options: PseudoOptions,
    thresholds: Sequence[Threshold],
    together: Threshold,
    left_out: Mapping[str, int],
    bad: Sequence[str],
    origin: Mapping[str, Any] | None,
) -> None:
    """Annotations, prints and, last, the record."""
    size = int(validation.record()["image_size"])
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (image, found) in enumerate(rows, start=1):
        images.append(
            {
                "id": number,
                "file_name": image.print.path.name,
                "width": size,
                "height": size,
                "original_file_name": image.source.name,
                "original_width": image.width,
                "original_height": image.height,
            }
        )
        for row in found:
            area = row["bbox"][2] * row["bbox"][3]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, **row, "area": round(area, 2), "iscrowd": 0}
            )
    description = f"Pseudo-labels of {detector.name}; not checked by anyone"
    whole = {"info": {"description": description}, "images": images, "annotations": annotations,
             "categories": categories}  # fmt: skip
    write_json(data.annotations_file("train"), whole, indent=None)
    write_json(data.annotations_file("val"), {**whole, "images": [], "annotations": []}, indent=None)
    data.images_dir("val").mkdir(parents=True, exist_ok=True)
    write_json(data.path / PRINTS, {i.print.path.name: i.print.record() for i, _ in rows}, indent=None)
    per_class = Counter(a["category_id"] for a in annotations)
    files = {
        image["file_name"]: sha256_file(data.image_file("train", image["file_name"])) for image in images
    }
    hashes = {"annotations": sha256_file(data.annotations_file("train")), "images": files}
    record = {
        "format": 1,
        "kind": KIND,
        "class_names": [c["name"] for c in categories],
        "image_size": size,
        "config": asdict(options),
        "detector": {"name": detector.name, **(origin or {})},
        "validation": {"path": str(validation.path.resolve()), "content_hash": validation.content_hash},
        "content_hash": sha256_json(hashes),
        "counts": {
            "train": {
                "images": len(images),
                "boxes": len(annotations),
                "boxes_per_class": {c["name"]: per_class[c["id"]] for c in categories},
            },
            "val": {"images": 0, "boxes": 0},
            "left_out": dict(left_out),
        },
        "thresholds": [t.record() for t in (*thresholds, together)],
        "unreadable": list(bad),
        "findings": [],
        "environment": describe(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    write_json(data.hashes_file, hashes, indent=None)
    write_json(data.record_file, record)
