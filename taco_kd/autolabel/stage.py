"""``autolabel``: folders in; naive labels, their audit, ways out, datasets and a picture out."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from taco_kd.autolabel.audit import audit_folders
from taco_kd.autolabel.compatibility import Compatibility, load_compatibility
from taco_kd.autolabel.examples import choose_examples
from taco_kd.autolabel.export import export_labels
from taco_kd.autolabel.figure import draw_figure, save_figure
from taco_kd.autolabel.find import Finders, Sight, look
from taco_kd.autolabel.folders import ClassFolders
from taco_kd.autolabel.harm import JudgedBox, judge_boxes, labels_hash
from taco_kd.autolabel.naive import naive_description, to_coco
from taco_kd.autolabel.record import audit_record
from taco_kd.autolabel.remedies import (
    CONFIDENCES,
    Remedy,
    Second,
    apply_remedies,
    chosen_remedy,
    kept_by,
)
from taco_kd.autolabel.results import (
    FIGURE,
    FILTERED,
    LABELS,
    NAIVE,
    RECORD,
    SCENES,
    UNJUDGED,
    AutolabelResult,
)
from taco_kd.autolabel.scenes import draw_folders
from taco_kd.autolabel.scores import score_remedies
from taco_kd.autolabel.truth import Truth
from taco_kd.autolabel.unjudged import write_unjudged
from taco_kd.errors import DataError, UsageError
from taco_kd.files import write_json
from taco_kd.models.ultralytics_file import BoxDetector
from taco_kd.progress import Tick
from taco_kd.runs import claim

TITLE = "Semantic mismatch: a box gets its folder's name, whatever is in it"
REVIEW_SAMPLE = 60
_WHAT = "auto-labelling audit"


@dataclass(frozen=True)
class AutolabelOptions:
    """How labels are made and compared.

    Attributes:
        min_score: boxes below this confidence (0..1) are dropped.
        limit: at most this many photos of each folder.
        scenes: how many are drawn where there are no photos.
        confidences: thresholds of the remedy that looks at confidence alone.
        keep: the remedy whose labels become the dataset ``filtered``.
        export: write the datasets; they hold copies of the photos.
        review: how many boxes a person is asked about, picked by chance.
    """

    min_score: float = 0.25
    limit: int | None = None
    scenes: int = 60
    confidences: tuple[float, ...] = CONFIDENCES
    keep: str = "table"
    export: bool = True
    review: int = REVIEW_SAMPLE


def autolabel(
    images: Path | None,
    detector: BoxDetector,
    out: Path,
    *,
    options: AutolabelOptions | None = None,
    finders: Finders | None = None,
    overwrite: bool = False,
    on_progress: Tick | None = None,
    truth: Truth | None = None,
    compatibility: Compatibility | None = None,
    finish: Callable[[Path, Path], object] | None = None,
) -> AutolabelResult:
    """Label classification folders as the paper did (section V.C), audit the labels and compare ways out.

    Args:
        images: ``<class>/*.jpg`` folders; without it synthetic scenes are drawn into ``out``, whose truth is
            known.
        detector: finds the boxes; it was trained on classes of its own.
        out: gets ``naive.json`` (COCO), ``mismatch.png``, the datasets ``naive`` and ``filtered`` and, last,
            the record ``audit.json``.
        finders: the detectors of the remedies, or why there are none.
        truth: the real objects of ``images``, where somebody knows them.
        compatibility: which detector class can be a thing of which folder; the packaged table by default.
        finish: called with the folder that becomes ``out`` and the photos' root, to add pages to it.

    Raises:
        DataError: no class folders, or not one photo that can be decoded.
        UsageError: ``out`` holds something else, or lies in ``images``, or the other way; no such remedy.
    """
    options = options or AutolabelOptions()
    if (options.limit is not None and options.limit < 1) or options.scenes < 1:
        raise UsageError(f"limit is {options.limit} and scenes is {options.scenes}: both must be at least 1")
    table, finders = compatibility or load_compatibility(), finders or Finders()
    _check_keep(options, finders)
    _check_out(images, out, overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp") as name:
        work = Path(name) / out.name
        work.mkdir()
        if images is None:
            truth = draw_folders(work / SCENES, options.scenes, on_progress=on_progress)
        data = ClassFolders.find(images or work / SCENES, per_folder=options.limit)
        seen = look(data, detector, finders, options.min_score, on_progress)
        if not seen.photos:
            raise DataError(
                f"{data.root}: none of its {len(seen.bad)} images can be decoded; first: {seen.bad[0][1]}"
            )
        vocabulary = detector.class_names
        judged = judge_boxes(seen.photos, table, vocabulary, truth=truth)
        remedies = apply_remedies(
            seen.photos, judged, second=seen.second, words=seen.words, confidences=options.confidences
        )
        kept = chosen_remedy(remedies, options.keep)
        folders, overall = audit_folders(
            seen.photos, table, vocabulary, unreadable=Counter(label for label, _ in seen.bad), truth=truth
        )
        result = AutolabelResult(
            out,
            detector.name,
            tuple(folders),
            overall,
            tuple(message for _, message in seen.bad),
            tuple(score_remedies(remedies, seen.photos, judged, truth=truth)),
            kept,
            (
                *table.strangers(data.classes, vocabulary),
                *_silent(data.classes, table, vocabulary),
            ),
        )
        _write(work, result, data, seen, judged, remedies, kept, options)
        if write_unjudged(work / UNJUDGED, folders, table, vocabulary):
            result.notices.append(
                f"{UNJUDGED} lists what the table says nothing of: fill in, --compatibility"
            )
        examples = choose_examples(seen.photos, table, vocabulary, truth=truth)
        text = " ".join(filter(None, [result.one_line, result.caveat]))
        save_figure(draw_figure(examples, data.read, title=TITLE, subtitle=text), work / FIGURE)
        write_json(
            work / RECORD,
            audit_record(
                result,
                images,
                detector,
                table,
                judged,
                settings={
                    "what": _WHAT,
                    "min_score": options.min_score,
                    "limit_per_folder": options.limit,
                    "labels": labels_hash(seen.photos),
                    "review_sample": _sample(len(judged), options.review),
                },
            ),
        )
        if finish is not None:
            finish(work, data.root)
        claim(out, record_name=RECORD, overwrite=overwrite, what=_WHAT)
        if out.is_dir():
            out.rmdir()  # empty: Windows does not rename onto it
        shutil.move(work, out)
    return result


def _write(
    work: Path,
    result: AutolabelResult,
    data: ClassFolders,
    seen: Sight,
    judged: list[JudgedBox],
    remedies: list[Remedy],
    kept: Remedy,
    options: AutolabelOptions,
) -> None:
    """The file of all naive labels, and the two datasets."""
    by_box = kept_by(remedies)
    extras = [box.record() | {"kept_by": by_box.get(box.id, [])} for box in judged]
    description = naive_description(result.detector)
    write_json(work / LABELS, to_coco(seen.photos, data.classes, description=description, extras=extras))
    if not options.export:
        return
    naive = tuple(photo.boxes for photo in seen.photos)
    export_labels(work / NAIVE, seen.photos, naive, data.classes, data.root, description=description)
    assert kept.boxes is not None, "chosen_remedy takes no absent one"
    export_labels(
        work / FILTERED,
        seen.photos,
        kept.boxes,
        data.classes,
        data.root,
        description=f"Auto-labels of {result.detector}, filtered: {kept.key} ({kept.text}).",
        twin=work / NAIVE,
    )


def _silent(classes: tuple[str, ...], table: Compatibility, vocabulary: tuple[str, ...]) -> list[str]:
    return [
        f"folder {name!r} is no column of the table ({table.source}) and no class of the detector: none of "
        "its boxes can be judged"
        for name in classes
        if table.silent(name, vocabulary)
    ]


def _sample(boxes: int, count: int) -> list[int]:
    """Ids of the boxes a person is asked about; the same for the same number of boxes."""
    return random.Random(0).sample(range(1, boxes + 1), min(count, boxes))


def _check_keep(options: AutolabelOptions, finders: Finders) -> None:
    """Find out early that there is no such remedy, by applying all of them to nothing."""
    second = finders.second if isinstance(finders.second, str) else Second(finders.second.name, (), ())
    words = finders.words if isinstance(finders.words, str) else Second(finders.words.name, (), ())
    nothing = apply_remedies([], [], second=second, words=words, confidences=options.confidences)
    chosen_remedy(nothing, options.keep)


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
