"""Synthetic validation sets with TACO's imbalance, and synthetic detectors of any skill on any ground truth.

A detector here is a rule that turns true boxes into detections: it misses, misplaces, misnames and invents
some. What matters for a comparison is as with real ones: classes and images differ in difficulty, two
detectors find the same boxes hard, and rare classes are found less often.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Json = dict[str, Any]

SIDE = 640

TACO_BOXES = (
    *(
        667,
        517,
        451,
        285,
        273,
        260,
        229,
        209,
        157,
        138,
        112,
        104,
        104,
        99,
        93,
        82,
        80,
        77,
        67,
        64,
        62,
        61,
        50,
    ),
    *(
        45,
        42,
        39,
        38,
        37,
        34,
        31,
        30,
        29,
        27,
        20,
        15,
        13,
        12,
        12,
        11,
        10,
        10,
        9,
        8,
        7,
        7,
        6,
        6,
        6,
        6,
        5,
        5,
        4,
    ),
    *(4, 4, 3, 3, 2, 2, 1),
)
"""Boxes of each class in TACO's 1,500 images, in descending order (arXiv:2003.06975)."""


def scenes(images: int, *, seed: int, class_boxes: tuple[int, ...] = TACO_BOXES) -> Json:
    """A COCO ground truth: mostly one to three boxes an image, seldom dozens, classes as rare as TACO's."""
    rng = np.random.default_rng(seed)
    share = np.array(class_boxes) / sum(class_boxes)
    number = np.minimum(1 + rng.negative_binomial(0.55, 0.55 / (0.55 + 2.2), images), 60)
    image = np.repeat(np.arange(images), number)
    category = rng.choice(len(share), size=len(image), p=share)
    first = np.searchsorted(image, image)
    again = (rng.random(len(image)) < 0.3) & (first < np.arange(len(image)))
    category[again] = category[first[again]]  # one thing often lies there several times
    side = np.clip(np.exp(rng.normal(np.log(40), 1.0, len(image))), 5, 500)
    aspect = np.exp(rng.normal(0, 0.4, len(image)))
    wh = np.clip(np.stack([side * aspect, side / aspect], axis=1), 4, SIDE - 1)
    xy = rng.random((len(image), 2)) * (SIDE - wh)
    boxes = np.concatenate([xy, wh], axis=1).round(2)
    return {
        "images": [
            {"id": i, "file_name": f"{i:06d}.jpg", "width": SIDE, "height": SIDE} for i in range(images)
        ],
        "categories": [{"id": c, "name": f"class {c:02d}"} for c in range(len(share))],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for n, (i, c, box) in enumerate(
                zip(image.tolist(), category.tolist(), boxes.tolist(), strict=True)
            )
        ],
    }


@dataclass(frozen=True)
class Detector:
    """How good a detector is.

    Attributes:
        skill: log odds of finding an average box of a frequent class.
        identity: seed of what the detector is: which classes it is good at, apart from what all are good at.
        class_spread: standard deviation of that over classes.
        seed_spread: standard deviation over training seeds of the skill at each class.
        clutter: invented boxes an image.
    """

    skill: float
    identity: int = 0
    class_spread: float = 0.35
    seed_spread: float = 0.0
    clutter: float = 20.0


def detect(ground_truth: Mapping[str, Any], detector: Detector, *, seed: int, world: int = 0) -> list[Json]:
    """COCO results of ``detector``.

    Args:
        seed: of the detector's own luck, as a training seed would have it.
        world: of what is hard for every detector: equal for detectors that are compared.
    """
    shared, own, trained = (np.random.default_rng(s) for s in ([world, 1], [seed, 2], [seed, 3]))
    identity = np.random.default_rng([detector.identity, 4])
    ids = np.array([c["id"] for c in ground_truth["categories"]])
    place = {category: index for index, category in enumerate(ids.tolist())}
    rows = ground_truth["annotations"]
    box = np.array([r["bbox"] for r in rows], dtype=float).reshape(-1, 4)
    category = np.array([place[r["category_id"]] for r in rows])
    image_ids = np.array([i["id"] for i in ground_truth["images"]])
    image_place = {image: index for index, image in enumerate(image_ids.tolist())}
    image = np.array([image_place[r["image_id"]] for r in rows])

    share = np.bincount(category, minlength=len(ids)) / max(1, len(category))
    by_class = shared.normal(0, 0.9, len(ids)) + 0.25 * np.log(np.maximum(share, 1e-4) / 0.05)
    by_class += identity.normal(0, detector.class_spread, len(ids))
    by_class += trained.normal(0, detector.seed_spread, len(ids)) if detector.seed_spread else 0.0
    easy = 0.35 * np.log(np.sqrt(box[:, 2] * box[:, 3]) / 40)
    easy += shared.normal(0, 0.6, len(image_ids))[image] + shared.normal(0, 1.0, len(rows))
    logit = detector.skill + by_class[category] + easy + own.normal(0, 0.7, len(rows))

    found = own.random(len(rows)) < _sigmoid(logit)
    right = own.random(len(rows)) < _sigmoid(logit + 1.5)
    named = np.where(right, category, own.choice(len(ids), len(rows), p=_even(share)))
    jitter = 0.02 + 0.12 * _sigmoid(-logit)
    shift = own.normal(0, 1, (len(rows), 4)) * jitter[:, None]
    moved = np.concatenate(
        [box[:, :2] + shift[:, :2] * box[:, 2:], box[:, 2:] * np.exp(shift[:, 2:])], axis=1
    )
    score = _sigmoid(0.8 * logit - 0.6 + own.normal(0, 0.8, len(rows)))

    extra = own.poisson(detector.clutter, len(image_ids))
    where = np.repeat(np.arange(len(image_ids)), extra)
    wh = np.clip(np.exp(own.normal(np.log(40), 1.0, (len(where), 2))), 4, SIDE - 1)
    invented = np.concatenate([own.random((len(where), 2)) * (SIDE - wh), wh], axis=1)
    invented_score = own.beta(1, 9, len(where))
    columns = (
        np.concatenate([image_ids[image[found]], image_ids[where]]).tolist(),
        ids[np.concatenate([named[found], own.choice(len(ids), len(where), p=_even(share))])].tolist(),
        np.concatenate([_inside(moved[found]), invented]).round(2).tolist(),
        np.concatenate([score[found], invented_score]).round(5).tolist(),
    )
    return [
        {"image_id": i, "category_id": c, "bbox": b, "score": s} for i, c, b, s in zip(*columns, strict=True)
    ]


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


def _even(share: Floats) -> Floats:
    """Wrong names are given to rare classes more often than they occur."""
    weight = np.sqrt(share + 1e-4)
    return np.asarray(weight / weight.sum())


def _inside(xywh: Floats) -> Floats:
    low = np.clip(xywh[:, :2], 0, SIDE - 2)
    high = np.clip(xywh[:, :2] + xywh[:, 2:], low + 1, SIDE)
    return np.concatenate([low, high - low], axis=1)
