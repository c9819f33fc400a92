"""Augmentation that model or data do not allow is refused before the first step, in one line."""

from __future__ import annotations

import pytest
import torch

from taco_kd.config import AugmentConfig, TrainConfig
from taco_kd.data.dataset import DetectionDataset
from taco_kd.errors import UsageError
from taco_kd.models.zoo import make
from taco_kd.train.image_checks import check_images


@pytest.fixture(scope="module")
def student(small_data):
    return make("rtdetr-nano", small_data.class_names, weights="random", seed=0)[0]


@pytest.fixture(scope="module")
def data(small_data):
    return DetectionDataset(small_data, "train", 192)


def test_a_model_that_takes_any_size_is_multi_scale(student, data):
    student.train()
    before = {k: v.clone() for k, v in student.state_dict().items()}
    check_images(TrainConfig(augment=AugmentConfig(multi_scale=(128, 256))), data, student, 5)
    assert student.training
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())


def test_a_model_of_one_size_is_not(student, data, monkeypatch):
    forward = type(student).forward

    def strict(self, images, *args, **kwargs):
        if images.shape[-1] != 192:
            raise AssertionError("Input height (128) doesn't match model (192).\nand more")
        return forward(self, images, *args, **kwargs)

    monkeypatch.setattr(type(student), "forward", strict)
    with pytest.raises(
        UsageError, match=r"rtdetr-nano takes images of 192 px only; at 128 px it fails"
    ) as told:
        check_images(TrainConfig(augment=AugmentConfig(multi_scale=(128, 192))), data, student, 5)
    assert "\n" not in str(told.value)
    check_images(TrainConfig(augment=AugmentConfig(multi_scale=(192, 192))), data, student, 5)


def test_sampling_that_changes_nothing_is_told(student, data, capsys):
    check_images(TrainConfig(sampling="class-balanced", balance_below=1e-6), data, student, 5)
    assert "class-balanced changes nothing here" in capsys.readouterr().err.replace("\n", " ")
    check_images(TrainConfig(sampling="class-balanced", balance_below=1.0), data, student, 5)
    assert capsys.readouterr().err == ""
