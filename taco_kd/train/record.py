"""What the record of a run says from its beginning, whoever trains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from taco_kd.config import Recipe
from taco_kd.environment import describe
from taco_kd.models.detector import Detector
from taco_kd.models.load_report import LoadReport
from taco_kd.models.weights import weights_hash
from taco_kd.runs import DataDir


def begun(
    recipe: Recipe, data: DataDir, student: Detector, reports: Sequence[LoadReport], *, steps_total: int
) -> dict[str, Any]:
    """A run without a teacher that was asked for by ``recipe`` and has done no step."""
    return {
        "format": 1,
        "status": "running",
        "kind": "train",
        "recipe": recipe.model_dump(mode="json"),
        "data": {
            "path": str(data.path.resolve()),
            "content_hash": data.content_hash,
            "image_size": data.record()["image_size"],
        },
        "pseudo": None,
        "class_names": list(data.class_names),
        "class_pairs": None,
        "init_hash": weights_hash(student.network),
        "teacher_hash": None,
        "teacher_hashes": [],
        "loads": [asdict(report) for report in reports],
        "steps_total": steps_total,
        "steps": 0,
        "seconds": 0.0,
        "environment": describe(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
