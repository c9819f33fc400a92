"""What settings change about a network before training: frozen parts, batch norms, learning rates."""

import math

import pytest
import torch
from torch import nn

from taco_kd.config import TrainConfig, validate
from taco_kd.data.dataset import DetectionDataset
from taco_kd.errors import UsageError
from taco_kd.models import rtdetr, zoo
from taco_kd.train.loop import steps
from taco_kd.train.network import batch_norms, freeze, guard_single_images, shape_for_speed, train_mode
from taco_kd.train.optim import build_optimizer, lr_at
from taco_kd.train.state import TrainState, make_ema

CPU = torch.device("cpu")


def config(**values):
    return TrainConfig(**{"batch_size": 2, "horizontal_flip": 0.0, **values})


@pytest.fixture
def model():
    torch.manual_seed(0)
    return rtdetr.build_nano(("can", "cup"))


def test_parameters_are_frozen_by_regular_expression(model):
    count = freeze(model, config(freeze=(r"\.backbone\.", "^network.model.encoder_input_proj")))
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    wanted = {n for n, _ in model.named_parameters() if ".backbone." in n or "encoder_input_proj" in n}
    assert frozen == wanted
    assert count == sum(p.numel() for n, p in model.named_parameters() if n in wanted)


def test_what_is_frozen_stays_and_the_rest_learns(model, small_data):
    dataset = DetectionDataset(small_data, "train", 96)
    model = rtdetr.build_nano(small_data.class_names)
    settings = config(freeze=(r"\.backbone\.",), ema_decay=0.9, lr=1e-3)
    freeze(model, settings)
    state = TrainState(model, None, build_optimizer(model, None, settings), make_ema(model, 0.9))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in steps(state, dataset, settings, steps_total=2, device=CPU):
        pass
    for name, p in model.named_parameters():
        if ".backbone." in name:
            assert torch.equal(p, before[name]), name
    assert not torch.equal(
        model.network.model.enc_output[0].weight, before["network.model.enc_output.0.weight"]
    )
    held = {id(p) for group in state.optimizer.param_groups for p in group["params"]}
    assert not any(id(p) in held for n, p in model.named_parameters() if ".backbone." in n)


def test_a_pattern_that_fits_nothing_is_told(model):
    with pytest.raises(
        UsageError, match=r"train.freeze: 'tail' is found in no parameter of .*example network"
    ):
        freeze(model, config(freeze=("tail",)))


def test_nothing_left_to_train_is_told(model):
    with pytest.raises(UsageError, match="every parameter is frozen"):
        freeze(model, config(freeze=(".",)))


def test_a_broken_pattern_is_told():
    with pytest.raises(UsageError, match=r"freeze.*'\(' is not a regular expression"):
        validate(TrainConfig, {"freeze": ["("]}, where="recipe mine")


def test_frozen_batch_norms_keep_statistics_and_weights(small_data):
    model = rtdetr.build_nano(small_data.class_names)
    settings = config(freeze_batch_norm=True, lr=1e-3)
    freeze(model, settings)
    norms = list(batch_norms(model))
    assert norms
    before = [{k: v.clone() for k, v in norm.state_dict().items()} for norm in norms]
    state = TrainState(model, None, build_optimizer(model, None, settings), None)
    dataset = DetectionDataset(small_data, "train", 96)
    next(steps(state, dataset, settings, steps_total=2, device=CPU))
    for norm, was in zip(norms, before, strict=True):
        assert not norm.training
        assert all(torch.equal(was[k], v) for k, v in norm.state_dict().items())
    assert model.training


def test_without_the_setting_batch_norms_learn(model):
    train_mode(model, config())
    assert all(norm.training for norm in batch_norms(model))


@pytest.mark.parametrize("norm", ["eval", "train"])
def test_one_image_has_the_gradient_of_one_image(norm):
    """Whatever strides the incoming gradient of a batch of one has; torch 2.15 is wrong here on a CPU."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(8))
    getattr(model, norm)()
    guard_single_images(model)
    guard_single_images(model)  # once is enough
    assert len(model[0]._forward_hooks) == 1
    images, gradient = torch.randn(1, 8, 6, 6, requires_grad=True), torch.randn(1, 8, 6, 6)
    odd = torch.empty_strided((1, 8, 6, 6), (8, 1, 48, 8)).copy_(gradient)
    wanted = [images, model[0].weight, model[0].bias]
    plain = torch.autograd.grad(model(images), wanted, gradient)
    found = torch.autograd.grad(model(images), wanted, odd)
    for a, b in zip(plain, found, strict=True):
        torch.testing.assert_close(a, b)


def rates(total=100, **values):
    settings = config(lr=1.0, **values)
    return [lr_at(step, total, settings) for step in range(total)]


def test_the_multi_step_schedule_drops_at_its_milestones():
    found = rates(schedule="multi-step", milestones=(0.5, 0.75), lr_drop=0.1, warmup_steps=2)
    assert found[:3] == [0.5, 1.0, 1.0]
    assert found[49] == 1.0
    assert found[50] == pytest.approx(0.1)
    assert found[74] == pytest.approx(0.1)
    assert found[75:] == pytest.approx([0.01] * 25)


def test_the_cosine_ends_near_zero():
    found = rates(schedule="cosine", warmup_steps=10)
    assert found[10] == 1.0
    assert found[55] == pytest.approx(0.5)
    assert found[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))


@pytest.mark.parametrize("shares", [[0.8, 0.5], [0.0], [1.2]])
def test_milestones_are_rising_shares(shares):
    with pytest.raises(UsageError, match="rising shares of the run"):
        validate(TrainConfig, {"milestones": shares}, where="recipe mine")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["rtdetr", "yolo"])
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_is_the_same_network(small_data, family):
    """Inductor needs a C++ compiler and a minute."""
    names = small_data.class_names
    build = rtdetr.build_nano if family == "rtdetr" else zoo.find("yolo11-nano").build
    dataset, losses, keys = DetectionDataset(small_data, "train", 96), [], []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = build(names)
        settings = config(compile=compiled)
        shape_for_speed(model, settings)
        state = TrainState(model, None, build_optimizer(model, None, settings), None)
        records = list(steps(state, dataset, settings, steps_total=2, device=CPU))
        losses.append([record.loss for record in records])
        keys.append(list(model.state_dict()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert keys[0] == keys[1]


def test_a_network_without_such_a_part_is_not_compiled(model, monkeypatch):
    monkeypatch.setattr(model, "compiled_parts", list)
    with pytest.raises(UsageError, match=r"train.compile: .* has no part that can be compiled"):
        shape_for_speed(model, config(compile=True))
