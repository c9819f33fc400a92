"""Losses between boxes of pairs: by hand, formula in float64, zero at the teacher, gradients, no pairs."""

import pytest
import torch
from loss_helpers import random

from taco_kd.distill.losses.l1 import l1
from taco_kd.distill.losses.l1_giou import l1_giou


def boxes(count, seed=0, dtype=torch.float64):
    """Boxes within the image, none degenerate."""
    values = random(count, 4, seed=seed).sigmoid()
    return torch.cat([0.3 + 0.4 * values[:, :2], 0.05 + 0.4 * values[:, 2:]], dim=1).to(dtype)


def giou(a, b):
    """Of two boxes cxcywh, in plain arithmetic."""
    ax, ay, aw, ah = a.tolist()
    bx, by, bw, bh = b.tolist()
    edges = [
        (ax - aw / 2, ax + aw / 2, bx - bw / 2, bx + bw / 2),
        (ay - ah / 2, ay + ah / 2, by - bh / 2, by + bh / 2),
    ]
    common, hull = 1.0, 1.0
    for a0, a1, b0, b1 in edges:
        common *= max(0.0, min(a1, b1) - max(a0, b0))
        hull *= max(a1, b1) - min(a0, b0)
    union = aw * ah + bw * bh - common
    return common / union - (hull - union) / hull


def test_l1_by_hand():
    student = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    teacher = torch.tensor([[0.4, 0.5, 0.3, 0.6]])
    assert l1(student, teacher).item() == pytest.approx((0.1 + 0 + 0.1 + 0.4) / 4, rel=1e-5)


def test_l1_equals_the_formula_in_float64():
    student, teacher = boxes(9), boxes(9, seed=1)
    assert l1(student, teacher).item() == pytest.approx((student - teacher).abs().mean().item(), rel=1e-12)


def test_l1_giou_by_hand():
    # side by side, 0.2 wide: no overlap, the hull holds nothing else, so GIoU is 0
    student, teacher = torch.tensor([[0.3, 0.5, 0.2, 0.2]]), torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    assert l1_giou(student, teacher, torch.ones(1)).item() == pytest.approx(5 * 0.2 + 2 * 1.0, rel=1e-4)
    plain = l1_giou(student, teacher, torch.ones(1), l1=1.0, giou=0.0)
    assert plain.item() == pytest.approx(0.2, rel=1e-5)


def test_l1_giou_equals_the_formula_in_float64():
    student, teacher, weights = boxes(9), boxes(9, seed=1), random(9, seed=2).abs()
    each = [
        5 * (s - t).abs().sum().item() + 2 * (1 - giou(s, t)) for s, t in zip(student, teacher, strict=True)
    ]
    by_hand = sum(w * e for w, e in zip(weights.tolist(), each, strict=True)) / weights.sum().item()
    found = l1_giou(student, teacher, weights)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(by_hand, rel=1e-4)  # torchvision adds 1e-7 to each area


def test_l1_giou_weight_zero_takes_a_pair_out():
    student, teacher = boxes(2).requires_grad_(), boxes(2, seed=1)
    one = l1_giou(student[:1], teacher[:1], torch.tensor([0.3]))
    both = l1_giou(student, teacher, torch.tensor([0.3, 0.0]))
    assert both.item() == pytest.approx(one.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(both, student)
    assert gradient[1].abs().sum() == 0
    assert l1_giou(student, teacher, torch.zeros(2)).item() == 0


def test_boxes_without_extent_give_finite_gradients():
    student = torch.tensor([[0.5, 0.5, 0.0, 0.0]], requires_grad=True)
    for teacher in ([[0.5, 0.5, 0.0, 0.0]], [[0.2, 0.2, 0.1, 0.1]]):
        loss = l1_giou(student, torch.tensor(teacher), torch.ones(1))
        (gradient,) = torch.autograd.grad(loss, student)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


LOSSES = {"l1": l1, "l1-giou": lambda s, t: l1_giou(s, t, torch.ones(len(s)))}
every = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@every
def test_is_zero_at_the_teacher(loss):
    same = boxes(6, dtype=torch.float32)
    assert loss(same, same.clone()).item() == pytest.approx(0, abs=1e-4)
    assert loss(boxes(6, seed=1), same).item() > 0.01


@every
def test_gradients_reach_the_student_only_and_are_those_of_the_value(loss):
    student, teacher = boxes(3).requires_grad_(), boxes(3, seed=1).requires_grad_()
    loss(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher.detach()), student)


@every
def test_without_pairs_it_is_zero_and_still_part_of_the_graph(loss):
    empty = torch.zeros(0, 4, requires_grad=True)
    value = loss(empty, torch.zeros(0, 4))
    assert value.item() == 0
    assert value.dtype == torch.float32
    value.backward()
    assert empty.grad.shape == (0, 4)


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_a_float32_close_to_float64(loss, dtype):
    student, teacher = boxes(50), boxes(50, seed=1)
    exact = loss(student, teacher).item()
    rough = loss(student.to(dtype), teacher.to(dtype))
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact, rel=0.02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss(student.float(), teacher.to(dtype))
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(exact, rel=0.02)
