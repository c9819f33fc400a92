"""The table of losses between maps: a name in the settings, and the class that it means."""

from __future__ import annotations

from taco_kd.distill.losses.cosine import Cosine
from taco_kd.distill.losses.cwd import CWD
from taco_kd.distill.losses.maps import MapLoss
from taco_kd.distill.losses.mgd import MGD
from taco_kd.distill.losses.mse import MSE
from taco_kd.distill.losses.pkd import PKD

FEATURE_LOSSES: dict[str, type[MapLoss]] = {
    "mse": MSE,
    "cwd": CWD,
    "pkd": PKD,
    "mgd": MGD,
    "cosine": Cosine,
}
"""Each is called with the student's and the teacher's levels, and keeps to the interface of ``MapLoss``."""
