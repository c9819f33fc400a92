"""From which confidence a class's boxes are good enough to train on, measured on validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from taco_kd.autolabel.audit import clustered_interval
from taco_kd.errors import DataError
from taco_kd.evaluate.greedy import match_greedily
from taco_kd.evaluate.inputs import check_coco

Source = Literal["own", "pooled", "left out"]


@dataclass(frozen=True)
class Evidence:
    """Detections of one class, or of all, on validation data, from the highest score down.

    Attributes:
        scores: [N]; ``hits`` [N] at an IoU of 0.5; ``images`` [N] index of the image.
        boxes: true boxes.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    images: NDArray[np.int64]
    boxes: int

    def lowest_at(self, precision: float, least: int) -> float | None:
        """The lowest score from which up at least ``least`` detections have that precision, if any.

        Equal scores are taken or left together.
        """
        if not len(self.scores):
            return None
        count = np.arange(1, len(self.scores) + 1)
        last_of_its_score = np.append(self.scores[1:] < self.scores[:-1], True)
        good = (np.cumsum(self.hits) >= precision * count - 1e-9) & (count >= least) & last_of_its_score
        return float(self.scores[np.flatnonzero(good)[-1]]) if good.any() else None

    def at(self, threshold: float) -> tuple[int, int, tuple[float, float] | None]:
        """Hits, detections and the 95 % interval of the precision from ``threshold`` up."""
        used = self.scores >= threshold
        images, hits = self.images[used], self.hits[used]
        clusters = [(int(hits[images == i].sum()), int((images == i).sum())) for i in np.unique(images)]
        return int(hits.sum()), int(used.sum()), clustered_interval(clusters)


@dataclass(frozen=True)
class Threshold:
    """The confidence that a class's boxes need, and what is known of them there.

    Attributes:
        value: None for a class whose boxes are left out.
        source: ``own`` evidence, the ``pooled`` one of all classes, or ``left out``.
        hits, detections: on validation data from the threshold up; of a class left out, at the pooled.
        boxes: true boxes of the class in the validation data.
    """

    name: str
    value: float | None
    source: Source
    why: str
    hits: int
    detections: int
    interval: tuple[float, float] | None
    boxes: int

    @property
    def precision(self) -> float | None:
        return self.hits / self.detections if self.detections else None

    def record(self) -> dict[str, Any]:
        return {
            "class": self.name,
            "threshold": self.value,
            "source": self.source,
            "why": self.why,
            "hits": self.hits,
            "detections": self.detections,
            "precision": self.precision,
            "precision_interval_95": self.interval,
            "boxes": self.boxes,
            "recall": self.hits / self.boxes if self.boxes and self.value is not None else None,
        }


def gather(
    ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Evidence], Evidence]:
    """Evidence of each class by name, and of all together; COCO's greedy matching at an IoU of 0.5."""
    coco = check_coco(ground_truth, results, where="detections on the validation data")
    matched = match_greedily(coco)
    counted = ~matched.ignored[0, 0]
    boxes = matched.boxes[0]
    names = [coco.categories[category] for category in sorted(coco.categories)]
    by_class = {}
    for k, name in enumerate(names):
        own = np.arange(matched.starts[k], matched.starts[k + 1])
        own = own[counted[own]]
        by_class[name] = Evidence(
            matched.score[own], matched.hit[0, 0][own], matched.image[own], int(boxes[k])
        )
    order = np.argsort(-matched.score, kind="stable")
    order = order[counted[order]]
    pooled = Evidence(matched.score[order], matched.hit[0, 0][order], matched.image[order], int(boxes.sum()))
    return by_class, pooled


def choose_thresholds(
    by_class: Mapping[str, Evidence], pooled: Evidence, *, precision: float, least: int
) -> tuple[Threshold, list[Threshold]]:
    """The pooled threshold, and one for each class.

    A class gets the lowest threshold from which up its own precision is at least ``precision``, where at
    least ``least`` detections speak for it. Else it gets the pooled one; unless its own detections there show
    that it stays below the target (the whole 95 % interval does), when its boxes are left out.

    Thresholds are picked on the data that measures them, so the precisions are a little optimistic.

    Raises:
        DataError: not even all classes together reach the target.
    """
    common = pooled.lowest_at(precision, least)
    if common is None:
        raise DataError(_out_of_reach(pooled, precision, least))
    hits, detections, interval = pooled.at(common)
    together = Threshold("all classes", common, "own", "", hits, detections, interval, pooled.boxes)
    return together, [
        _of_class(name, evidence, common, precision, least) for name, evidence in by_class.items()
    ]


def _of_class(name: str, evidence: Evidence, common: float, precision: float, least: int) -> Threshold:
    own = evidence.lowest_at(precision, least)
    if own is not None:
        return Threshold(name, own, "own", "", *evidence.at(own), evidence.boxes)
    hits, detections, interval = evidence.at(common)
    if interval is not None and interval[1] < precision:
        why = f"{hits} of {detections} right at the pooled threshold: below the target"
        return Threshold(name, None, "left out", why, hits, detections, interval, evidence.boxes)
    why = f"no {least} of its detections reach the target; {detections} lie above the pooled threshold"
    return Threshold(name, common, "pooled", why, hits, detections, interval, evidence.boxes)


def _out_of_reach(pooled: Evidence, precision: float, least: int) -> str:
    count = np.arange(1, len(pooled.scores) + 1)
    shares = np.cumsum(pooled.hits) / count
    usable = np.flatnonzero(count >= least)
    if not len(usable):
        return (
            f"the detector finds {len(pooled.scores)} boxes in the validation data, and at least {least} "
            "are needed to choose a threshold; give a larger --validation or a lower --min-evidence"
        )
    best = usable[np.argmax(shares[usable])]
    reachable = np.floor(100 * shares[best]) / 100
    return (
        f"no threshold gives labels of which {100 * precision:.0f} % are right on the validation data: the "
        f"best is {100 * shares[best]:.0f} % (confidence {pooled.scores[best]:.2f}, {best + 1} boxes); train "
        f"a better detector, or set --target-precision to {reachable:.2f} or less"
    )
