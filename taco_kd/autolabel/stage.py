"""``autolabel``: folders in; naive labels, the audit of them, and a picture of what is wrong out."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from taco_kd.autolabel.audit import audit_folders
from taco_kd.autolabel.compatibility import Compatibility, load_compatibility
from taco_kd.autolabel.examples import choose_examples
from taco_kd.autolabel.figure import draw_figure, save_figure
from taco_kd.autolabel.folders import ClassFolders, UnreadableImageError
from taco_kd.autolabel.naive import LabelledPhoto, label_photo, to_coco
from taco_kd.autolabel.results import FIGURE, LABELS, RECORD, AutolabelResult
from taco_kd.autolabel.scenes import draw_folders
from taco_kd.autolabel.truth import Truth
from taco_kd.environment import describe
from taco_kd.errors import DataError, UsageError
from taco_kd.files import write_json
from taco_kd.models.ultralytics_file import BoxDetector
from taco_kd.progress import Tick
from taco_kd.runs import claim

SCENES = "photos"
TITLE = "Semantic mismatch: a box gets its folder's name, whatever is in it"
_WHAT = "auto-labelling audit"


def autolabel(
    images: Path | None,
    detector: BoxDetector,
    out: Path,
    *,
    min_score: float = 0.25,
    limit: int | None = None,
    overwrite: bool = False,
    on_progress: Tick | None = None,
    truth: Truth | None = None,
    compatibility: Compatibility | None = None,
    scenes: int = 60,
) -> AutolabelResult:
    """Label classification folders as the paper did (section V.C) and audit the labels.

    Args:
        images: ``<class>/*.jpg`` folders; without it ``scenes`` synthetic ones are drawn into ``out``, whose
            truth is known.
        detector: finds the boxes; it was trained on classes of its own.
        out: gets ``naive.json`` (COCO), ``mismatch.png`` and, last, the record ``audit.json``.
        min_score: boxes below this confidence (0..1) are dropped.
        limit: at most this many photos of each folder.
        truth: the real objects of ``images``, where somebody knows them.
        compatibility: which detector class can be a thing of which folder; the packaged table by default.

    Raises:
        DataError: no class folders, or not one photo that can be decoded.
        UsageError: ``out`` holds something else, or lies in ``images``, or the other way round.
    """
    if (limit is not None and limit < 1) or scenes < 1:
        raise UsageError(f"limit is {limit} and scenes is {scenes}: both must be at least 1")
    table = compatibility or load_compatibility()
    _check_out(images, out, overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp") as name:
        work = Path(name) / out.name
        work.mkdir()
        if images is None:
            truth = draw_folders(work / SCENES, scenes, on_progress=on_progress)
        data = ClassFolders.find(images or work / SCENES, per_folder=limit)
        photos, bad = _label(data, detector, min_score, on_progress)
        if not photos:
            raise DataError(f"{data.root}: none of its {len(bad)} images can be decoded; first: {bad[0][1]}")
        unreadable = Counter(label for label, _ in bad)
        folders, overall = audit_folders(
            photos, table, detector.class_names, unreadable=unreadable, truth=truth
        )
        write_json(work / LABELS, to_coco(photos, data.classes, detector=detector.name))
        result = AutolabelResult(
            out, detector.name, tuple(folders), overall, tuple(message for _, message in bad)
        )
        examples = choose_examples(photos, table, detector.class_names, truth=truth)
        text = " ".join(filter(None, [result.one_line, result.caveat]))
        save_figure(draw_figure(examples, data.read, title=TITLE, subtitle=text), work / FIGURE)
        write_json(work / RECORD, _record(result, images, detector, table, min_score, limit))
        claim(out, record_name=RECORD, overwrite=overwrite, what=_WHAT)
        if out.is_dir():
            out.rmdir()  # empty: Windows does not rename onto it
        shutil.move(work, out)
    return result


def _label(
    data: ClassFolders, detector: BoxDetector, min_score: float, on_progress: Tick | None
) -> tuple[list[LabelledPhoto], list[tuple[str, str]]]:
    """The labelled photos, and (folder, message) of those that could not be decoded."""
    photos: list[LabelledPhoto] = []
    bad: list[tuple[str, str]] = []
    for done, photo in enumerate(data.photos, start=1):
        try:
            image = data.read(photo)
        except UnreadableImageError as error:
            bad.append((photo.label, str(error)))
        else:
            found = detector.detect(image).above(min_score)
            photos.append(label_photo(photo, image.size, found, detector.class_names))
        if on_progress is not None:
            on_progress(done, len(data.photos), photo.label)
    return photos, bad


def _check_out(images: Path | None, out: Path, *, overwrite: bool) -> None:
    """Find out early that ``out`` cannot be written; an old result stays until the new one is there."""
    if images is not None:
        inner, outer = out.resolve(), images.resolve()
        if inner.is_relative_to(outer) or outer.is_relative_to(inner):
            raise UsageError(
                f"--out {out} and --images {images}: one lies in the other; choose another --out"
            )
    if not (overwrite and (out / RECORD).is_file()):
        claim(out, record_name=RECORD, overwrite=False, what=_WHAT)


def _record(
    result: AutolabelResult,
    images: Path | None,
    detector: BoxDetector,
    table: Compatibility,
    min_score: float,
    limit: int | None,
) -> dict[str, object]:
    return {
        "what": _WHAT,
        "summary": result.one_line,
        "caveat": result.caveat,
        "images": str(images) if images else SCENES,
        "synthetic": images is None,
        "detector": detector.name,
        "detector_classes": list(detector.class_names),
        "min_score": min_score,
        "limit_per_folder": limit,
        "compatibility": table.source,
        "overall": result.overall.record(),
        "folders": [folder.record() for folder in result.folders],
        "unreadable": list(result.unreadable),
        "environment": describe(),
    }
