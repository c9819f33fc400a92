"""One self-contained HTML page about one detector: ``evaluation_page(analysis, out)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from taco_kd import __version__
from taco_kd.errors import DataError
from taco_kd.evaluate.analysis import Analysis, ClassAnalysis
from taco_kd.evaluate.chosen import words
from taco_kd.evaluate.coco_metrics import FREQUENT_BOXES, ClassMetrics
from taco_kd.evaluate.confusion import Confusion
from taco_kd.evaluate.evaluation import Evaluation
from taco_kd.evaluate.worst import WorstImage
from taco_kd.files import write_json, write_text
from taco_kd.report import formats
from taco_kd.report.evaluation_figures import (
    confidence_figure,
    recall_figure,
    reliability_figure,
    sparkline,
)
from taco_kd.report.images import BYTES_FOR_IMAGES, jpeg_uri
from taco_kd.report.templates import own_text, template

MATRIX_CLASSES = 20
"""Classes in the confusion matrix, at most: those with most boxes and mistakes."""

MOST_LABELS = 16
"""Boxes in a picture up to which each is named."""

SUMMARY = (
    ("ap", "AP", "mean over IoU 0.50 to 0.95"),
    ("ap50", "AP50", "at IoU 0.50"),
    ("ap75", "AP75", "at IoU 0.75"),
    ("ap_frequent", f"AP ≥{FREQUENT_BOXES}", f"mean over the classes with at least {FREQUENT_BOXES} boxes"),
    ("ap_small", "AP S", "small boxes"),
    ("ap_medium", "AP M", "medium boxes"),
    ("ap_large", "AP L", "large boxes"),
    ("ar1", "AR1", "recall with 1 detection per image and class"),
    ("ar10", "AR10", "recall with 10"),
    ("ar100", "AR100", "recall with 100"),
)


@dataclass(frozen=True)
class ClassRow:
    """A row of the table of classes; ``line`` are the points of its curve at IoU 0.5."""

    metrics: ClassMetrics
    analysis: ClassAnalysis
    line: str | None

    @property
    def few(self) -> bool:
        return self.metrics.boxes < FREQUENT_BOXES


@dataclass(frozen=True)
class Matrix:
    """The part of the confusion matrix that is shown: ``rows`` of (count, share of the row's sum)."""

    names: list[str]
    rows: list[tuple[str, list[tuple[int, float]]]]
    left_out: int


@dataclass(frozen=True)
class Picture:
    """A worst image with its bytes; ``uri`` is None where the image cannot be shown."""

    image: WorstImage
    uri: str | None


def evaluation_page(
    analysis: Analysis,
    out: Path,
    *,
    name: str,
    facts: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    images: Path | None = None,
) -> Path:
    """Write the page to ``out`` and return it; it loads nothing from the network.

    Args:
        analysis: what was found.
        name: of the detector.
        facts: what a reader should know of it, as (what, value).
        notes: sentences to read before quoting a number.
        images: folder that the ground truth's ``file_name`` entries are relative to; None shows no pictures.
    """
    pictures, missing = _pictures(analysis.worst_images, images)
    html = template("evaluation.html", confidence=confidence_text).render(
        name=name,
        version=__version__,
        style=own_text("style.css") + own_text("evaluation.css"),
        analysis=analysis,
        metrics=analysis.metrics,
        summary=SUMMARY,
        values=analysis.metrics.to_json(),
        frequent=FREQUENT_BOXES,
        facts=facts,
        notes=[*notes, *_cautions(analysis)],
        figures=_figures(analysis),
        largest_cost=max([e.ap50_cost or 0 for e in (*analysis.errors, *analysis.error_summary)] + [0.001]),
        rows=_rows(analysis),
        without_boxes=[c.name for c in analysis.metrics.per_class if not c.boxes],
        matrix=_matrix(analysis.confusion),
        pictures=pictures,
        no_pictures=missing,
        most_labels=MOST_LABELS,
    )
    write_text(out, html.lstrip())
    return out


def _figures(analysis: Analysis) -> Mapping[str, Markup | None]:
    calibration = analysis.calibration
    return {
        "recall": recall_figure(analysis.recall_curves) if analysis.recall_curves else None,
        "confidence": confidence_figure(analysis.confidence_curves) if analysis.confidence_curves else None,
        "reliability": reliability_figure(calibration) if calibration and calibration.detections else None,
    }


def _cautions(analysis: Analysis) -> list[str]:
    metrics = analysis.metrics
    with_boxes = [c for c in metrics.per_class if c.boxes]
    few = [c for c in with_boxes if c.boxes < FREQUENT_BOXES]
    found = []
    if few:
        found.append(
            f"{len(few)} of the {len(with_boxes)} classes with boxes have fewer than {FREQUENT_BOXES}; "
            "their AP is mostly chance, and AP is a mean over classes"
        )
    if metrics.images < 1000:
        found.append(
            f"on {metrics.images:,} images AP is uncertain by points: taco-kd compare gives the interval of "
            "a difference"
        )
    if analysis.confidence_is == "best F1":
        found.append(
            "the threshold of the best F1 was chosen on these images, so figures at it are optimistic"
        )
    return found


def _rows(analysis: Analysis) -> list[ClassRow]:
    """Classes with boxes, from the most to the least frequent."""
    rows = [
        ClassRow(metrics, found, sparkline(found.recall_curves.iou50) if found.recall_curves else None)
        for metrics, found in zip(analysis.metrics.per_class, analysis.classes, strict=True)
        if metrics.boxes
    ]
    return sorted(rows, key=lambda row: -row.metrics.boxes)


def _matrix(confusion: Confusion) -> Matrix:
    counts, last = confusion.counts, len(confusion.class_names)
    weight = [sum(counts[k]) + sum(row[k] for row in counts) - counts[k][k] for k in range(last)]
    boxes = [sum(counts[k]) for k in range(last)]
    order = sorted(range(last), key=lambda k: (-(boxes[k] > 0), -weight[k], k))
    shown = sorted([k for k in order if weight[k]][:MATRIX_CLASSES])
    used = [*shown, last]
    rows = []
    for k in used:
        total = sum(counts[k])
        label = "background" if k == last else confusion.class_names[k]
        rows.append((label, [(counts[k][j], counts[k][j] / total if total else 0.0) for j in used]))
    names = [*(confusion.class_names[k] for k in shown), "not found"]
    return Matrix(names, rows, sum(1 for value in weight if value) - len(shown))


def _pictures(worst: Sequence[WorstImage], images: Path | None) -> tuple[list[Picture], str]:
    """The worst images with their bytes, and why there are none."""
    if not worst:
        return [], "no image has an error at this confidence"
    if images is None:
        return [Picture(image, None) for image in worst], "no folder of images was given (--images)"
    found, problem = [], ""
    for image in worst:
        uri: str | None = None
        try:
            if not image.file_name:
                raise DataError(f"image {image.image_id} has no file_name in the ground truth")
            uri = jpeg_uri(images / image.file_name, BYTES_FOR_IMAGES // len(worst))
        except DataError as error:
            problem = problem or str(error)
        found.append(Picture(image, uri if image.width and image.height else None))
    return found, problem


def confidence_text(value: float) -> str:
    """A confidence in as few digits as tell it.

    >>> confidence_text(0.5), confidence_text(0.8671), confidence_text(0.0132)
    ('0.50', '0.87', '0.013')
    """
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def write_evaluation(evaluated: Evaluation, folder: Path) -> Path:
    """``analysis.json`` and the page ``index.html`` of one evaluation in ``folder``; returns the page."""
    analysis, classes = evaluated.analysis, evaluated.classes
    notes = [words(evaluated.name, evaluated.chosen_on)] if evaluated.chosen_on is not None else []
    if classes is not None and (classes.unknown or classes.left_out):
        notes.append(classes.line(evaluated.name))
    if evaluated.ap_of_known is not None:
        notes.append(f"AP over the classes that it knows alone: {formats.points(evaluated.ap_of_known)}")
    write_json(folder / "analysis.json", evaluated.to_json(), indent=None)
    facts = [
        ("Model", evaluated.source),
        ("Data", evaluated.data),
        ("Areas", analysis.metrics.area_space),
        ("Confidence threshold", f"{confidence_text(analysis.confidence)} ({analysis.confidence_is})"),
    ]
    return evaluation_page(
        analysis,
        folder / "index.html",
        name=evaluated.name,
        facts=facts,
        notes=notes,
        images=evaluated.images,
    )
