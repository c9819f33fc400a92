"""Weights over a run: schedules and calibration by hand, gradient norms against autograd."""

import math

import pytest
import torch

from taco_kd.config import DistillConfig
from taco_kd.distill.weighting import DETECTION, Weighting, gradient_norms, schedule


@pytest.mark.parametrize(
    ("settings", "progress", "factor"),
    [
        ({}, 0.0, 1.0),
        ({"warmup": 0.2}, 0.0, 0.0),
        ({"warmup": 0.2}, 0.1, 0.5),
        ({"warmup": 0.2}, 0.7, 1.0),
        ({"decay": "linear", "decay_share": 0.5}, 0.5, 1.0),
        ({"decay": "linear", "decay_share": 0.5}, 0.75, 0.5),
        ({"decay": "cosine", "decay_share": 0.5}, 0.75, 0.5),
        ({"decay": "cosine", "decay_share": 0.5}, 0.625, 0.5 * (1 + math.cos(math.pi / 4))),
        ({"decay": "linear", "decay_share": 1.0}, 1.0, 0.0),
        ({"warmup": 0.1, "decay": "linear", "decay_share": 0.9}, 0.1, 1.0),
    ],
)
def test_schedule_by_hand(settings, progress, factor):
    assert schedule(DistillConfig(**settings), progress) == pytest.approx(factor)


def weighting(**settings):
    config = DistillConfig(weighting="calibrated", **settings)
    return Weighting(
        {"kd_features": config, "kd_boxes": config},
        {"kd_features": 1.0, "kd_boxes": 1.0},
        {"kd_features": 0.25, "kd_boxes": 0.25},
    )


def test_calibrated_weights_give_each_term_its_share():
    found = weighting(calibration_steps=2, calibrate_every=5)
    for step, scale in enumerate((1.0, 3.0)):
        assert found.wants_norms(step)
        found.observe({DETECTION: 10.0 * scale, "kd_features": 0.5 * scale, "kd_boxes": 200.0 * scale})
    assert [step for step in range(2, 12) if found.wants_norms(step)] == [5, 10]
    # shares 1/4, 1/4 and 1/2 for the detection loss, whose norm is 10
    assert found.weight("kd_features", 0.5) == pytest.approx(0.25 / 0.5 * 10 / 0.5)
    assert found.weight("kd_boxes", 0.5) == pytest.approx(0.25 / 0.5 * 10 / 200)


def test_a_term_without_gradient_says_nothing_about_its_scale():
    found = weighting(calibration_steps=1)
    found.observe({DETECTION: 10.0, "kd_features": 1.0, "kd_boxes": 0.0})
    assert found.wants_norms(1)
    assert found.weight("kd_boxes", 0.5) == 0.0
    found.observe({DETECTION: 30.0, "kd_features": 3.0, "kd_boxes": 3.0})
    assert found.weight("kd_features", 0.5) == pytest.approx(0.25 / 0.5 * (10 + 30) / (1 + 3))
    assert found.weight("kd_boxes", 0.5) == pytest.approx(0.25 / 0.5 * 30 / 3)


def test_weights_follow_gradients_that_change():
    found = weighting()
    found.observe({DETECTION: 0.01, "kd_features": 1.0, "kd_boxes": 1.0})
    for _ in range(20):
        found.observe({DETECTION: 10.0, "kd_features": 1.0, "kd_boxes": 1.0})
    assert found.weight("kd_features", 0.5) == pytest.approx(0.25 / 0.5 * 10, rel=0.01)


def test_what_was_measured_travels_with_the_state():
    found, other = weighting(), weighting()
    found.observe({DETECTION: 10.0, "kd_features": 2.0, "kd_boxes": 4.0})
    other.load_state_dict(found.state_dict())
    assert other.weight("kd_features", 0.9) == found.weight("kd_features", 0.9) > 0
    other.observe({DETECTION: 1.0, "kd_features": 2.0, "kd_boxes": 4.0})
    assert other.weight("kd_features", 0.9) != found.weight("kd_features", 0.9)


def test_fixed_weights_are_left_alone():
    config = DistillConfig()
    found = Weighting({"kd_boxes": config}, {"kd_boxes": 1.2}, {})
    assert not found.wants_norms(0)
    found.observe({DETECTION: 10.0, "kd_boxes": 1.0})
    assert found.weight("kd_boxes", 0.3) == 1.2


def test_gradient_norms_by_hand():
    shared = torch.tensor([3.0, -4.0], requires_grad=True)
    other = torch.tensor(2.0, requires_grad=True)
    terms = {
        "square": (shared**2).sum() / 2,  # gradient (3, -4): norm 5
        "sum": 7 * shared.sum(),  # gradient (7, 7)
        "elsewhere": other**2,
        "constant": torch.tensor(1.0),
    }
    norms = gradient_norms(terms, [shared])
    assert norms == pytest.approx({"square": 5.0, "sum": 7 * math.sqrt(2), "elsewhere": 0, "constant": 0})
    terms["square"].backward()  # the graph is still there
    assert shared.grad.tolist() == [3.0, -4.0]


def test_norms_without_anything_shared_are_zero():
    assert gradient_norms({"a": torch.tensor(1.0, requires_grad=True) * 2}, []) == {"a": 0.0}
