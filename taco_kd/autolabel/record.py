"""``audit.json``: everything an auto-labelling found, for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taco_kd.autolabel.agreement import agreement
from taco_kd.autolabel.compatibility import Compatibility, Verdict
from taco_kd.autolabel.harm import JudgedBox
from taco_kd.autolabel.results import SCENES, AutolabelResult
from taco_kd.autolabel.truth import Fact
from taco_kd.environment import describe
from taco_kd.models.ultralytics_file import BoxDetector


def audit_record(
    result: AutolabelResult,
    images: Path | None,
    detector: BoxDetector,
    table: Compatibility,
    judged: Sequence[JudgedBox],
    *,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The record; ``settings`` are what was asked for."""
    return {
        **settings,
        "summary": result.one_line,
        "caveat": result.caveat,
        "images": str(images.resolve()) if images else SCENES,
        "synthetic": images is None,
        "detector": detector.name,
        "detector_classes": list(detector.class_names),
        "compatibility": table.source,
        "overall": result.overall.record(),
        "folders": [folder.record() for folder in result.folders],
        "remedies": [score.record() for score in result.scores],
        "filtered": result.kept.key,
        "table_and_truth": _with_truth(judged),
        "warnings": list(result.warnings),
        "unreadable": list(result.unreadable),
        "environment": describe(),
    }


def _with_truth(judged: Sequence[JudgedBox]) -> dict[str, Any] | None:
    """How far the table agrees with the truth, where that is known: an audit of the audit."""
    rows = [
        (box.place, box.verdict is Verdict.MISMATCH, box.fact is not Fact.RIGHT)
        for box in judged
        if box.fact is not None and box.verdict is not Verdict.UNKNOWN
    ]
    return agreement(rows).record() if rows else None
