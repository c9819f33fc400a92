"""A person's answers from the gallery, and how far the compatibility table agrees with them.

Cohen's kappa (Educational and Psychological Measurement, 1960) is the agreement beyond chance of two raters;
its interval comes from resampling photos, since boxes of one photo are alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from taco_kd.autolabel.audit import clustered_interval
from taco_kd.autolabel.compatibility import Verdict
from taco_kd.errors import DataError
from taco_kd.files import read_json

FORMAT = "taco-kd reviews 1"
Answer = Literal["right", "wrong", "unsure"]
ANSWERS: tuple[Answer, ...] = ("right", "wrong", "unsure")
RESAMPLES = 2000


@dataclass(frozen=True)
class Agreement:
    """Two raters of the same labels: the table, and somebody who knows (a person, or the truth).

    Attributes:
        both_wrong, only_table, only_other, both_right: labels by who calls them wrong; ``only_table`` are
            contradicted by the table and right to the other.
        kappa: Cohen's, -1..1; None where one of the raters says the same of every label.
        kappa_interval: 95 %.
        accord_interval: 95 % interval of the share of equal answers.
        wrong_interval: 95 % interval of the share that the other calls wrong.
        contradicted_interval: the same of the labels that the table contradicts.
    """

    both_wrong: int
    only_table: int
    only_other: int
    both_right: int
    kappa: float | None
    kappa_interval: tuple[float, float] | None
    accord_interval: tuple[float, float] | None
    wrong_interval: tuple[float, float] | None
    contradicted_interval: tuple[float, float] | None

    @property
    def labels(self) -> int:
        return self.both_wrong + self.only_table + self.only_other + self.both_right

    def record(self) -> dict[str, Any]:
        """As JSON; shares are 0..1."""
        n, contradicted = self.labels, self.both_wrong + self.only_table
        return {
            "labels": n,
            "both_wrong": self.both_wrong,
            "contradicted_but_right": self.only_table,
            "not_contradicted_but_wrong": self.only_other,
            "both_right": self.both_right,
            "accord": (self.both_wrong + self.both_right) / n if n else None,
            "accord_interval_95": self.accord_interval,
            "kappa": self.kappa,
            "kappa_interval_95": self.kappa_interval,
            "wrong_share": (self.both_wrong + self.only_other) / n if n else None,
            "wrong_interval_95": self.wrong_interval,
            "wrong_of_contradicted": self.both_wrong / contradicted if contradicted else None,
            "wrong_of_contradicted_interval_95": self.contradicted_interval,
        }


def agreement(rows: Sequence[tuple[object, bool, bool]], *, seed: int = 0) -> Agreement:
    """Agreement over (photo, the table contradicts the label, the other calls it wrong)."""
    by_photo: dict[object, NDArray[np.int64]] = defaultdict(lambda: np.zeros(4, dtype=np.int64))
    for photo, table, other in rows:
        by_photo[photo][(0 if table else 2) + (0 if table == other else 1)] += 1
    # Columns: both wrong, only the table, both right, only the other.
    counts = np.array(list(by_photo.values()), dtype=np.int64).reshape(-1, 4)
    both_wrong, only_table, both_right, only_other = (int(v) for v in counts.sum(axis=0))
    return Agreement(
        both_wrong,
        only_table,
        only_other,
        both_right,
        kappa_of(counts.sum(axis=0)),
        _kappa_interval(counts, seed),
        _share(counts[:, [0, 2]].sum(axis=1), counts.sum(axis=1)),
        _share(counts[:, [0, 3]].sum(axis=1), counts.sum(axis=1)),
        _share(counts[:, 0], counts[:, :2].sum(axis=1)),
    )


def kappa_of(counts: NDArray[np.int64]) -> float | None:
    """Cohen's kappa of (both wrong, only the first, both right, only the second); None if undefined."""
    both_wrong, first, both_right, second = (float(v) for v in counts)
    n = both_wrong + first + both_right + second
    if n == 0:
        return None
    observed = (both_wrong + both_right) / n
    expected = (
        (both_wrong + first) * (both_wrong + second) + (both_right + second) * (both_right + first)
    ) / n**2
    return None if expected >= 1 else (observed - expected) / (1 - expected)


def _kappa_interval(counts: NDArray[np.int64], seed: int) -> tuple[float, float] | None:
    """Percentiles over resampled photos; None where fewer than nine in ten resamples have a kappa."""
    if len(counts) < 2:
        return None
    rng = np.random.default_rng(seed)
    draws = [
        kappa_of(counts[rng.integers(len(counts), size=len(counts))].sum(axis=0)) for _ in range(RESAMPLES)
    ]
    known = [value for value in draws if value is not None]
    if len(known) < 0.9 * RESAMPLES:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _share(counts: NDArray[np.int64], totals: NDArray[np.int64]) -> tuple[float, float] | None:
    return clustered_interval(list(zip(counts.tolist(), totals.tolist(), strict=True)))


def read_reviews(path: Path, *, labels_hash: str, boxes: int) -> dict[int, Answer]:
    """Answers by box id, from the file that the gallery saves.

    Raises:
        DataError: no such file, another format, answers about other labels, or an unknown box or answer.
    """
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DataError(f"{path}: is no reviews file; save one with the button of gallery.html")
    if value.get("labels") != labels_hash:
        raise DataError(
            f"{path}: is about other labels (of another detector, threshold or set of photos); review the "
            "gallery of this folder"
        )
    answers: dict[int, Answer] = {}
    rows = value.get("reviews")
    for number, row in enumerate(rows if isinstance(rows, list) else [None]):
        box, answer = (row.get("box"), row.get("answer")) if isinstance(row, dict) else (None, None)
        if not isinstance(box, int) or isinstance(box, bool) or not 1 <= box <= boxes:
            raise DataError(f"{path}: reviews.{number}: box {box!r}: there are boxes 1 to {boxes}")
        if answer not in ANSWERS:
            raise DataError(f"{path}: reviews.{number}: answer {answer!r}: {', '.join(ANSWERS)} are known")
        answers[box] = cast(Answer, answer)
    if not answers:
        raise DataError(f"{path}: holds no answer yet")
    return answers


def review_record(
    answers: Mapping[int, Answer], naive: Mapping[str, Any], sample: Sequence[int]
) -> dict[str, Any]:
    """What the answers say: agreement on the random sample, and the right labels of each remedy in it.

    Args:
        naive: the COCO dictionary of naive labels, with ``verdict`` and ``kept_by``.
        sample: ids of the random sample. Boxes picked by harm were not picked by chance, so their answers are
            counted and not put into a share.
    """
    rows, of_remedy = [], defaultdict(list)
    keys = sorted({key for a in naive["annotations"] for key in a["kept_by"]})
    decided = unjudged = 0
    for annotation in naive["annotations"]:
        answer = answers.get(annotation["id"])
        if annotation["id"] not in sample or answer in (None, "unsure"):
            continue
        decided += 1
        wrong, photo = answer == "wrong", annotation["image_id"]
        if annotation["verdict"] == Verdict.UNKNOWN.value:
            unjudged += 1
        else:
            rows.append((photo, annotation["verdict"] == Verdict.MISMATCH.value, wrong))
        for key in ["naive", *keys]:
            if key == "naive" or key in annotation["kept_by"]:
                of_remedy[key].append((photo, not wrong))
    return {
        "answers": {name: sum(a == name for a in answers.values()) for name in ANSWERS},
        "sample": len(sample),
        "answered_in_sample": decided,
        "answered_but_not_judged": unjudged,
        "outside_sample": sum(i not in sample for i in answers),
        "agreement": agreement(rows).record(),
        "remedies": {key: _right_share(values) for key, values in of_remedy.items()},
    }


def _right_share(values: Sequence[tuple[int, bool]]) -> dict[str, Any]:
    clusters: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for photo, right in values:
        clusters[photo][0] += right
        clusters[photo][1] += 1
    pairs = [(a, b) for a, b in clusters.values()]
    return {
        "right": sum(a for a, _ in pairs),
        "reviewed": sum(b for _, b in pairs),
        "interval_95": clustered_interval(pairs),
    }
