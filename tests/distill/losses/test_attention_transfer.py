"""Attention transfer: KL of head-averaged rows, between grids of two sizes."""

import math

import pytest
import torch
from loss_helpers import random

from taco_kd.distill.losses.attention import AttentionTransfer
from taco_kd.models import conditional_detr, rtdetr
from taco_kd.types import AttentionMap

loss = AttentionTransfer()


def attention(heads, height, width, seed=0, batch=2):
    places = height * width
    scores = random(batch, heads, places, places, seed=seed)
    return AttentionMap(scores.softmax(-1), height, width)


def test_by_hand():
    student = AttentionMap(torch.full((1, 1, 2, 2), 0.5), 1, 2)
    teacher = AttentionMap(torch.tensor([[[[0.75, 0.25], [0.5, 0.5]]]]), 1, 2)
    row = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert loss(student, teacher).item() == pytest.approx(row / 2, rel=1e-5)  # the mean over two places


def test_equals_the_formula_in_float64():
    student, teacher = attention(4, 2, 3), attention(8, 2, 3, seed=1)
    p, q = teacher.tensor.mean(1), student.tensor.mean(1)
    whole = 0.0
    for image in range(2):
        for place in range(6):
            whole += (p[image, place] * (p[image, place] / q[image, place]).log()).sum().item()
    found = loss(student, teacher)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(whole / 12, rel=1e-9)


def test_is_zero_where_the_averages_over_heads_agree():
    student = attention(4, 3, 3)
    assert loss(student, student).item() == pytest.approx(0, abs=1e-9)
    shuffled = AttentionMap(student.tensor[:, [2, 0, 3, 1]], 3, 3)
    assert loss(student, shuffled).item() == pytest.approx(0, abs=1e-9)
    assert loss(student, attention(4, 3, 3, seed=1)).item() > 0.01


def test_uniform_attention_stays_uniform_on_any_grid():
    student = AttentionMap(torch.full((1, 2, 12, 12), 1 / 12), 3, 4)
    for height, width in ((6, 8), (5, 7), (2, 2), (12, 4)):
        places = height * width
        teacher = AttentionMap(torch.full((1, 3, places, places), 1 / places), height, width)
        assert loss(student, teacher).item() == pytest.approx(0, abs=1e-6)


def test_a_finer_teacher_is_looked_up_in_its_place():
    """Each place of a 4 x 6 teacher attends to itself; on 2 x 3 each place should still attend to itself."""
    teacher = AttentionMap(torch.eye(24)[None, None], 4, 6)
    alike = AttentionMap((0.01 / 6 + 0.99 * torch.eye(6))[None, None], 2, 3)
    elsewhere = AttentionMap(alike.tensor.roll(1, dims=-1), 2, 3)
    transposed_grid = AttentionMap(torch.eye(24)[None, None], 6, 4)
    assert loss(alike, teacher) < 0.5 * loss(elsewhere, teacher)
    assert loss(alike, teacher).item() != pytest.approx(loss(alike, transposed_grid).item())


def test_rows_and_columns_are_not_exchanged():
    """All places look at place 0: the column of 0 is 1, not its row."""
    wanted = torch.zeros(1, 1, 16, 16)
    wanted[..., [0, 1, 4, 5]] = 0.25  # the upper left quarter of a 4 x 4 grid
    own = torch.full((1, 1, 4, 4), 0.01)
    own[..., 0] = 0.97
    student = AttentionMap(own, 2, 2)
    exchanged = AttentionMap(torch.full((1, 1, 4, 4), 0.25), 2, 2)
    assert loss(student, AttentionMap(wanted, 4, 4)) < loss(exchanged, AttentionMap(wanted, 4, 4))


def test_gradients_reach_the_student_only_and_are_those_of_the_value():
    scores = random(2, 2, 6, 6).requires_grad_()
    teacher = attention(3, 4, 6, seed=1)
    teacher.tensor.requires_grad_()
    value = loss(AttentionMap(scores.softmax(-1), 2, 3), teacher)
    value.backward()
    assert scores.grad.abs().sum() > 0
    assert teacher.tensor.grad is None
    fixed = AttentionMap(teacher.tensor.detach(), 4, 6)
    assert torch.autograd.gradcheck(lambda s: loss(AttentionMap(s.softmax(-1), 2, 3), fixed), scores)


def test_attention_on_one_place_alone_is_finite():
    scores = (200 * torch.eye(6))[None, None].requires_grad_()  # softmax is 0 elsewhere in float32
    value = loss(AttentionMap(scores.softmax(-1), 2, 3), attention(2, 2, 3, batch=1))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_a_float32_close_to_float64(dtype):
    student, teacher = attention(4, 2, 3), attention(8, 4, 6, seed=1)
    exact = loss(student, teacher).item()
    half = AttentionMap(student.tensor.to(dtype), 2, 3), AttentionMap(teacher.tensor.to(dtype), 4, 6)
    rough = loss(*half)
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact, rel=0.02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(*half).item() == pytest.approx(exact, rel=0.02)


def test_a_tensor_that_is_not_over_the_grid_is_refused():
    with pytest.raises(ValueError, match="is not one over 2 x 2 places"):
        AttentionMap(torch.zeros(1, 1, 6, 6), 2, 2)


def test_the_nano_teacher_teaches_the_nano_student():
    """12 x 12 places against 6 x 6; the gradient reaches the student's AIFI layer and its backbone."""
    torch.manual_seed(0)
    student, teacher = rtdetr.build_nano(["a"]).train(), conditional_detr.build_nano(["a"]).eval()
    images = torch.rand(2, 3, 192, 192)
    own = student(images, with_attention=True).attention
    with torch.no_grad():
        wanted = teacher(images, with_attention=True).attention
    assert ((own.height, own.width), (wanted.height, wanted.width)) == ((6, 6), (12, 12))
    loss(own, wanted).backward()
    layer, _ = student.attention_layer()
    assert layer.q_proj.weight.grad.abs().sum() > 0
    assert layer.k_proj.weight.grad.abs().sum() > 0
    assert any(p.grad is not None for n, p in student.named_parameters() if student.is_backbone(n))
