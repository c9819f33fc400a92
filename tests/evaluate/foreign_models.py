"""Detectors of other makers, made from the packaged nano models and saved in their formats."""

from __future__ import annotations

from pathlib import Path

from taco_kd.models.detector import Detector


def save_as_transformers(model: Detector, folder: Path) -> Path:
    """What ``save_pretrained`` leaves of a model of ours: no trace of taco-kd in it."""
    from transformers import ConditionalDetrImageProcessor, RTDetrImageProcessor

    network = model.network
    network.config.id2label = dict(enumerate(model.class_names))
    network.config.label2id = {name: i for i, name in enumerate(model.class_names)}
    network.save_pretrained(folder)
    kind = RTDetrImageProcessor if "rtdetr" in model.model_name else ConditionalDetrImageProcessor
    mean, std = model.mean.flatten().tolist(), model.std.flatten().tolist()
    plain = (mean, std) == ([0.0] * 3, [1.0] * 3)
    kind(
        size={"height": model.image_size, "width": model.image_size},
        do_normalize=not plain,
        image_mean=mean,
        image_std=std,
        do_pad=False,
    ).save_pretrained(folder)
    return folder
