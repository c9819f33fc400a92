"""``evaluate_predictor(...)``: any detector on a prepared dataset, its results in a folder of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taco_kd.environment import describe
from taco_kd.evaluate.classes import ClassMatch, match_classes
from taco_kd.evaluate.predict import LEAST_SCORE, Predictor
from taco_kd.evaluate.predictors import fingerprint
from taco_kd.files import read_json, write_json
from taco_kd.progress import Tick
from taco_kd.runs import DataDir, Split, claim

RECORD = "evaluation.json"
PREDICTIONS = "predictions.json"
_WHAT = "evaluation"


@dataclass(frozen=True)
class ForeignResult:
    """The results of a detector: COCO rows, and how its classes were read."""

    name: str
    rows: list[dict[str, Any]]
    classes: ClassMatch
    cached: bool


def evaluate_predictor(
    source: str,
    opened: Callable[[], Predictor],
    data: DataDir,
    split: Split,
    out: Path,
    *,
    class_map: Mapping[str, str] | None = None,
    overwrite: bool = False,
    on_progress: Tick | None = None,
) -> ForeignResult:
    """Run the detector over the split, or take what ``out`` holds of the same file, data and class map.

    Writes ``predictions.json`` (COCO results) and, last, the record ``evaluation.json``.

    Args:
        source: what the user named; its bytes are hashed.
        opened: opens the detector; not called where the results are there already.
        class_map: the detector's class names to the dataset's.

    Raises:
        UsageError: ``out`` holds something else.
        DataError: no class of the detector is a class of the dataset, or an image cannot be read.
    """
    key = {
        "model": fingerprint(source),
        "data": data.content_hash,
        "split": split,
        "class_map": dict(class_map or {}),
        "least_score": LEAST_SCORE,
    }
    record_file = out / RECORD
    if record_file.is_file() and not overwrite:
        record = read_json(record_file)
        if record.get("key") == key and (out / PREDICTIONS).is_file():
            classes = _classes(record["classes"])
            return ForeignResult(record["name"], read_json(out / PREDICTIONS), classes, cached=True)
    if not (overwrite and record_file.is_file()):
        claim(out, record_name=RECORD, overwrite=False, what=_WHAT)
    predictor = opened()
    categories = {int(c["id"]): str(c["name"]) for c in data.coco(split)["categories"]}
    classes = match_classes(predictor.class_names, categories, renamed=class_map, name=predictor.name)
    rows = predictor.predict(data, split, classes.categories, on_progress=on_progress)
    record_file.unlink(missing_ok=True)
    write_json(out / PREDICTIONS, rows, indent=None)
    record = {
        "what": _WHAT,
        "name": predictor.name,
        "source": source,
        "data": str(data.path),
        "key": key,
        "classes": asdict(classes),
        "environment": describe(),
    }
    write_json(record_file, record)
    return ForeignResult(predictor.name, rows, classes, cached=False)


def _classes(value: Mapping[str, Any]) -> ClassMatch:
    return ClassMatch(
        categories=tuple(value["categories"]),
        pairs=tuple((str(a), str(b)) for a, b in value["pairs"]),
        known=tuple(value["known"]),
        unknown=tuple(value["unknown"]),
        left_out=tuple(value["left_out"]),
    )
