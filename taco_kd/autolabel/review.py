"""Reviews into a finished auto-labelling: its record says how far the table and the person agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taco_kd.autolabel.agreement import read_reviews, review_record
from taco_kd.autolabel.results import LABELS, RECORD, SCENES
from taco_kd.errors import DataError
from taco_kd.files import read_json, write_json


def add_reviews(out: Path, reviews: Path) -> dict[str, Any]:
    """Put what the answers say into ``audit.json`` under ``review``; the other files stay as they are.

    Raises:
        DataError: ``out`` holds no auto-labelling, or the answers are about other labels.
    """
    if not (out / RECORD).is_file():
        raise DataError(f"{out}: holds no auto-labelling to review; make one with taco-kd autolabel-demo")
    audit, naive = read_json(out / RECORD), read_json(out / LABELS)
    answers = read_reviews(reviews, labels_hash=audit["labels"], boxes=len(naive["annotations"]))
    audit["review"] = review_record(answers, naive, audit["review_sample"])
    write_json(out / RECORD, audit)
    review: dict[str, Any] = audit["review"]
    return review


def photos_of(out: Path) -> Path:
    """Where the photos of a finished auto-labelling lie."""
    said = str(read_json(out / RECORD)["images"])
    return out / SCENES if said == SCENES else Path(said)


def review_line(review: dict[str, Any]) -> str:
    """The agreement in words."""
    found = review["agreement"]
    if not found["labels"]:
        return "No answer is about a box of the random sample that the table judges: no agreement to give."
    text = f"{found['labels']} judged labels of the sample were answered. "
    if found["kappa"] is None:
        text += "Cohen's kappa is not defined, as one side gave all of them the same answer"
    else:
        text += f"Cohen's kappa {found['kappa']:.2f}"
        if found["kappa_interval_95"]:
            low, high = found["kappa_interval_95"]
            text += f" (95 % interval {low:.2f} to {high:.2f})"
    text += f"; table and person agree on {_share(found, 'accord', 'accord_interval_95')}."
    if found["wrong_of_contradicted"] is not None:
        share = _share(found, "wrong_of_contradicted", "wrong_of_contradicted_interval_95")
        text += f" Of the labels that the table contradicts, {share} are wrong to the person."
    return text


def _share(values: dict[str, Any], key: str, interval: str) -> str:
    low, high = values[interval]
    return f"{100 * values[key]:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)"
