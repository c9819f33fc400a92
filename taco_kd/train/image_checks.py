"""Before the first step: do data, model and length of the run allow the augmentation that is asked for?"""

from __future__ import annotations

import torch

from taco_kd.config import TrainConfig
from taco_kd.data.batches import Batches, sampling_of
from taco_kd.data.dataset import DetectionDataset
from taco_kd.errors import UsageError
from taco_kd.models.detector import Detector
from taco_kd.progress import warn


def check_images(config: TrainConfig, dataset: DetectionDataset, student: Detector, steps_total: int) -> None:
    """Refuse augmentation that cannot be, and say where sampling does nothing.

    Raises:
        UsageError: strong augmentation would stop before the first epoch; nothing has outlines to cut it out
            by; or the student does not take images of another size.
    """
    Batches(dataset, config, steps_total)
    if config.augment.multi_scale is not None:
        _check_sides(student, config.augment.multi_scale)
    factors = dataset.factors(sampling_of(config))
    if factors is not None and factors.max() == factors.min():
        warn(
            "train.sampling=class-balanced changes nothing here: no class is rarer than "
            + (
                "the median class"
                if config.balance_below is None
                else f"train.balance_below={config.balance_below:g}"
            )
        )


@torch.no_grad()
def _check_sides(student: Detector, sides: tuple[int, int]) -> None:
    """One forward at the smallest and the largest side: some networks are built for one size alone."""
    device, training = student.mean.device, student.training
    student.eval()
    try:
        for side in sides:
            try:
                student(torch.zeros(1, 3, side, side, device=device))
            except Exception as error:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                raise UsageError(
                    f"train.augment.multi_scale = {list(sides)}: {student.model_name} takes images of "
                    f"{student.image_size} px only; at {side} px it fails ({reason}); leave multi_scale out"
                ) from None
    finally:
        student.train(training)
