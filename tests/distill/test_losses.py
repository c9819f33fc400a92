"""Each loss: a value by hand, its floor at teacher = student, gradients where they belong, empty input."""

import math

import pytest
import torch
import torch.nn.functional as F

from taco_kd.distill.losses import boxes, classes
from taco_kd.distill.losses.features import FeatureMSE
from taco_kd.types import FeatureMap, FeatureSpec


def leaf(values):
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


def test_softmax_kl_by_hand():
    # two classes: softmax((ln 3, 0)) = (3/4, 1/4) against (1/2, 1/2), tau 1
    student = leaf([[0.0, 0.0]])
    teacher = leaf([[math.log(3.0), 0.0]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert classes.softmax_kl(student, teacher, temperature=1.0).item() == pytest.approx(expected, rel=1e-5)


def test_softmax_kl_scales_with_temperature_squared_and_averages_pairs():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    teacher = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    tau = 4.0
    p, q = (teacher / tau).softmax(-1), (student / tau).softmax(-1)
    formula = tau**2 * (p * (p / q).log()).sum(-1).mean()
    assert classes.softmax_kl(student, teacher, temperature=tau).item() == pytest.approx(
        formula.item(), rel=1e-5
    )


def test_softmax_kl_is_zero_at_the_teacher():
    logits = torch.randn(4, 6)
    assert classes.softmax_kl(logits, logits.clone(), temperature=4.0).item() == pytest.approx(0, abs=1e-6)


def test_sigmoid_bce_by_hand_and_floor():
    # p = 1/2 everywhere: entropy ln 2 per class
    logits = torch.zeros(3, 4)
    floor = classes.sigmoid_bce(logits, logits, torch.ones(3)).item()
    assert floor == pytest.approx(4 * math.log(2), rel=1e-6)
    teacher = torch.randn(5, 4)
    at_teacher = classes.sigmoid_bce(teacher, teacher, torch.ones(5))
    p = teacher.sigmoid()
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).sum(-1).mean()
    assert at_teacher.item() == pytest.approx(entropy.item(), rel=1e-4)
    assert classes.sigmoid_bce(teacher + 0.5, teacher, torch.ones(5)) > at_teacher


def test_sigmoid_bce_weights_are_relative():
    student, teacher = torch.randn(2, 3), torch.randn(2, 3)
    one = classes.sigmoid_bce(student[:1], teacher[:1], torch.tensor([0.4]))
    both = classes.sigmoid_bce(student, teacher, torch.tensor([0.4, 0.0]))
    assert both.item() == pytest.approx(one.item(), rel=1e-6)


def test_l1_by_hand():
    student = leaf([[0.5, 0.5, 0.2, 0.2]])
    teacher = leaf([[0.4, 0.5, 0.3, 0.6]])
    assert boxes.l1(student, teacher).item() == pytest.approx((0.1 + 0 + 0.1 + 0.4) / 4, rel=1e-5)
    assert boxes.l1(student, student.detach()).item() == 0


def test_l1_giou_by_hand():
    # side by side unit squares of 0.2: no overlap, hull 0.4 x 0.2 without a gap -> GIoU 0
    student = leaf([[0.3, 0.5, 0.2, 0.2]])
    teacher = leaf([[0.5, 0.5, 0.2, 0.2]])
    value = boxes.l1_giou(student, teacher, torch.ones(1)).item()
    assert value == pytest.approx(5 * 0.2 + 2 * 1.0, rel=1e-4)
    assert boxes.l1_giou(student, student.detach(), torch.ones(1)).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        lambda s, t: classes.softmax_kl(s, t, temperature=4.0),
        lambda s, t: classes.sigmoid_bce(s, t, torch.ones(len(s))),
        boxes.l1,
        lambda s, t: boxes.l1_giou(s, t, torch.ones(len(s))),
    ],
)
def test_gradient_reaches_the_student_only_and_empty_input_is_zero(loss):
    student = (torch.rand(3, 4) * 0.4 + 0.2).requires_grad_()
    teacher = (torch.rand(3, 4) * 0.4 + 0.2).requires_grad_()
    loss(student, teacher).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    empty = torch.zeros(0, 4, requires_grad=True)
    value = loss(empty, torch.zeros(0, 4))
    assert value.item() == 0
    value.backward()  # stays connected, so that a step without pairs works


def spec(*levels):
    return [FeatureSpec(f"C{i}", channels, stride) for i, (channels, stride) in enumerate(levels)]


def maps(*tensors):
    return [FeatureMap(t, 8, "C") for t in tensors]


def test_feature_mse_by_hand():
    loss = FeatureMSE(spec((2, 8)), spec((1, 8)))
    with torch.no_grad():
        loss.projections[0].weight.fill_(1.0)
        loss.projections[0].bias.fill_(0.5)
    student = torch.ones(1, 2, 2, 2)  # projected: 1 + 1 + 0.5
    teacher = torch.ones(1, 1, 2, 2)
    assert loss(maps(student), maps(teacher)).item() == pytest.approx(1.5**2)


def test_feature_mse_sums_stages_pairs_by_stride_and_interpolates():
    loss = FeatureMSE(spec((4, 8), (4, 16), (4, 32)), spec((3, 4), (5, 8), (6, 16)))
    assert loss.pairs == [(0, 1), (1, 2), (2, 2)]
    assert [p.out_channels for p in loss.projections] == [5, 6, 6]
    student = [torch.randn(2, 4, s, s, requires_grad=True) for s in (8, 4, 2)]
    teacher = [torch.randn(2, c, s, s, requires_grad=True) for c, s in ((3, 16), (5, 8), (6, 4))]
    value = loss(maps(*student), maps(*teacher))
    by_hand = F.mse_loss(loss.projections[0](student[0]), teacher[1])
    by_hand = by_hand + F.mse_loss(loss.projections[1](student[1]), teacher[2])
    small = F.interpolate(teacher[2], size=(2, 2), mode="bilinear", align_corners=False)
    by_hand = by_hand + F.mse_loss(loss.projections[2](student[2]), small)
    assert value.item() == pytest.approx(by_hand.item(), rel=1e-5)
    value.backward()
    assert all(s.grad is not None for s in student)
    assert all(t.grad is None for t in teacher)
    assert all(p.grad is not None for p in loss.parameters())


def test_feature_mse_pairs_a_vit_with_the_nearest_stride_only():
    loss = FeatureMSE(spec((4, 8), (6, 16), (8, 32)), spec((5, 16), (5, 16)))
    assert loss.pairs == [(1, 1)]  # stride 16, and the later of its two maps
    student = [torch.randn(1, c, s, s) for c, s in ((4, 8), (6, 4), (8, 2))]
    teacher = [torch.randn(1, 5, 4, 4) for _ in range(2)]
    by_hand = F.mse_loss(loss.projections[0](student[1]), teacher[1])
    assert loss(maps(*student), maps(*teacher)).item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert FeatureMSE(spec((4, 8), (6, 32)), spec((5, 14))).pairs == [(0, 0)]


def test_feature_mse_needs_maps():
    with pytest.raises(ValueError, match="backbone maps"):
        FeatureMSE([], spec((1, 8)))
