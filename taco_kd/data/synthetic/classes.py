"""The ten litter classes that the synthetic scenes show, named as TACO names them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SceneClass:
    """One litter class.

    `frequency` is a relative weight, not a probability.  `length_range` is the shortest and longest
    length of the object itself, as a fraction of the image width, before rotation and clipping.
    """

    name: str
    supercategory: str
    frequency: float
    length_range: tuple[float, float]


# TACO has a long tail; here the commonest class is six times the rarest, so that a few hundred
# scenes are enough to learn every class.  The position in the tuple is the category id.
SCENE_CLASSES: tuple[SceneClass, ...] = (
    SceneClass("Cigarette", "Cigarette", 6.0, (0.070, 0.150)),
    SceneClass("Plastic bottle cap", "Bottle cap", 3.0, (0.052, 0.130)),
    SceneClass("Clear plastic bottle", "Bottle", 3.4, (0.16, 0.46)),
    SceneClass("Glass bottle", "Bottle", 1.9, (0.16, 0.46)),
    SceneClass("Drink can", "Can", 2.8, (0.11, 0.34)),
    SceneClass("Drink carton", "Carton", 1.3, (0.12, 0.38)),
    SceneClass("Disposable plastic cup", "Cup", 1.8, (0.11, 0.34)),
    SceneClass("Plastic film", "Plastic bag & wrapper", 4.4, (0.12, 0.46)),
    SceneClass("Crisp packet", "Plastic bag & wrapper", 1.0, (0.13, 0.40)),
    SceneClass("Normal paper", "Paper", 1.6, (0.11, 0.38)),
)
