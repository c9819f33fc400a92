"""Losses between class scores of pairs: by hand, formula in float64, floors, gradients, no pairs."""

import math

import pytest
import torch
from loss_helpers import random

from taco_kd.distill.losses.sigmoid_bce import sigmoid_bce
from taco_kd.distill.losses.softmax_kl import softmax_kl


def test_softmax_kl_by_hand():
    # softmax((ln 3, 0)) = (3/4, 1/4) against (1/2, 1/2)
    student, teacher = torch.zeros(1, 2), torch.tensor([[math.log(3.0), 0.0]])
    by_hand = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert softmax_kl(student, teacher, temperature=1.0).item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("tau", [0.5, 1.0, 4.0])
def test_softmax_kl_equals_the_formula_in_float64(tau):
    student, teacher = random(7, 5), random(7, 5, seed=1)
    p, q = (teacher / tau).softmax(-1), (student / tau).softmax(-1)
    whole = tau**2 * (p * (p / q).log()).sum()
    assert softmax_kl(student, teacher, temperature=tau).item() == pytest.approx(whole.item() / 7, rel=1e-9)
    by_image = softmax_kl(student, teacher, temperature=tau, reduction="images", images=2)
    assert by_image.item() == pytest.approx(whole.item() / 2, rel=1e-9)


def test_softmax_kl_by_images_is_batchmean_on_queries_as_the_released_code_has_it():
    student, teacher, tau = random(2, 300, 5), random(2, 300, 5, seed=1), 4.0
    released = torch.nn.KLDivLoss(reduction="batchmean")(
        (student / tau).log_softmax(-1), (teacher / tau).softmax(-1)
    )
    flat = (student.flatten(0, 1), teacher.flatten(0, 1))
    ours = softmax_kl(*flat, temperature=tau, reduction="images", images=2)
    assert ours.item() == pytest.approx(tau**2 * released.item(), rel=1e-9)
    assert ours.item() == pytest.approx(300 * softmax_kl(*flat, temperature=tau).item(), rel=1e-9)


def test_softmax_kl_is_zero_at_the_teacher_up_to_an_offset_of_a_pair():
    logits = random(4, 6, dtype=torch.float32)
    assert softmax_kl(logits, logits.clone(), temperature=4.0).item() == pytest.approx(0, abs=1e-6)
    offset = torch.tensor([1.0, -2, 0, 5]).view(4, 1)
    assert softmax_kl(logits + offset, logits, temperature=1.0).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, r"temperature 0\.0 must be positive"),
        ({"temperature": 1.0, "reduction": "images"}, "needs the number of images, not None"),
        ({"temperature": 1.0, "reduction": "images", "images": 0}, "needs the number of images, not 0"),
        ({"temperature": 1.0, "reduction": "mean"}, "reduction 'mean': choose pairs or images"),
    ],
)
def test_softmax_kl_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        softmax_kl(torch.zeros(1, 2), torch.zeros(1, 2), **settings)


def test_sigmoid_bce_by_hand():
    # p = 1/2 against a target of 1/4: -(1/4 ln 1/2 + 3/4 ln 1/2) = ln 2 for each of 4 classes
    found = sigmoid_bce(torch.zeros(3, 4), torch.full((3, 4), 0.25), torch.ones(3))
    assert found.item() == pytest.approx(4 * math.log(2), rel=1e-6)
    focused = sigmoid_bce(torch.zeros(3, 4), torch.full((3, 4), 0.25), torch.ones(3), focus=2.0)
    assert focused.item() == pytest.approx(4 * math.log(2) / 16, rel=1e-6)


@pytest.mark.parametrize("focus", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("positives", [None, 5])
def test_sigmoid_bce_equals_the_formula_in_float64(focus, positives):
    student, targets, weights = random(7, 4), random(7, 4, seed=1).sigmoid(), random(7, seed=2).abs()
    p = student.sigmoid()
    entropy = -(targets * p.log() + (1 - targets) * (1 - p).log())
    each = ((p - targets).abs() ** focus * entropy).sum(-1)
    by_hand = (weights * each).sum() / (weights.sum() if positives is None else positives)
    found = sigmoid_bce(student, targets, weights, focus=focus, positives=positives)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(by_hand.item(), rel=1e-9)


def test_sigmoid_bce_floor_is_the_entropy_of_the_targets_and_zero_with_focus():
    logits = random(5, 4).requires_grad_()
    targets = logits.detach().sigmoid()
    floor = sigmoid_bce(logits, targets, torch.ones(5))
    entropy = -(targets * targets.log() + (1 - targets) * (1 - targets).log()).sum(-1).mean()
    assert floor.item() == pytest.approx(entropy.item(), rel=1e-9)
    (gradient,) = torch.autograd.grad(floor, logits)
    assert gradient.abs().max() < 1e-9
    assert sigmoid_bce(logits + 0.5, targets, torch.ones(5)) > floor
    focused = sigmoid_bce(logits, targets, torch.ones(5), focus=2.0)
    assert focused.item() == pytest.approx(0, abs=1e-12)
    (gradient,) = torch.autograd.grad(focused, logits)
    assert gradient.abs().max() < 1e-9


def test_sigmoid_bce_weights_are_relative_and_zero_takes_a_pair_out():
    student, targets = random(2, 3).requires_grad_(), random(2, 3, seed=1).sigmoid()
    one = sigmoid_bce(student[:1], targets[:1], torch.tensor([0.4]))
    both = sigmoid_bce(student, targets, torch.tensor([0.4, 0.0]))
    assert both.item() == pytest.approx(one.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(both, student)
    assert gradient[0].abs().sum() > 0
    assert gradient[1].abs().sum() == 0


def test_sigmoid_bce_is_finite_where_sigmoids_saturate():
    student = torch.tensor([[90.0, -90.0]], requires_grad=True)
    for focus in (0.0, 2.0):
        loss = sigmoid_bce(student, torch.tensor([[0.0, 1.0]]), torch.ones(1), focus=focus)
        assert loss.item() == pytest.approx(180, rel=1e-5)
        (gradient,) = torch.autograd.grad(loss, student)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("focus", [-1.0, 0.5])
def test_sigmoid_bce_refuses_a_focus_without_a_gradient_at_the_teacher(focus):
    with pytest.raises(ValueError, match="must be 0 or at least 1"):
        sigmoid_bce(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1), focus=focus)


LOSSES = {
    "softmax-kl": lambda s, t: softmax_kl(s, t, temperature=4.0),
    "softmax-kl-images": lambda s, t: softmax_kl(s, t, temperature=4.0, reduction="images", images=2),
    "sigmoid-bce": lambda s, t: sigmoid_bce(s, t.sigmoid(), torch.ones(len(s))),
    "sigmoid-bce-focus": lambda s, t: sigmoid_bce(s, t.sigmoid(), torch.ones(len(s)), focus=2.0),
    "sigmoid-bce-positives": lambda s, t: sigmoid_bce(s, t.sigmoid(), torch.ones(len(s)), positives=0),
}
every = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@every
def test_gradients_reach_the_student_only_and_are_those_of_the_value(loss):
    student, teacher = random(3, 4).requires_grad_(), random(3, 4, seed=1).requires_grad_()
    loss(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher.detach()), student)


@every
@pytest.mark.parametrize("classes", [4, 0])
def test_without_pairs_it_is_zero_and_still_part_of_the_graph(loss, classes):
    empty = torch.zeros(0, classes, requires_grad=True)
    value = loss(empty, torch.zeros(0, classes))
    assert value.item() == 0
    assert value.dtype == torch.float32
    value.backward()
    assert empty.grad.shape == (0, classes)


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_a_float32_close_to_float64(loss, dtype):
    student, teacher = random(50, 4), random(50, 4, seed=1)
    exact = loss(student, teacher).item()
    rough = loss(student.to(dtype), teacher.to(dtype))
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact, rel=0.02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss(student.float(), teacher.to(dtype))
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(exact, rel=0.02)
