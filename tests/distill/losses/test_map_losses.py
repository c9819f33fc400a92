"""Losses between maps: by hand, against the plain formula in float64, floors, gradients, precision."""

import math

import pytest
import torch
import torch.nn.functional as F
from loss_helpers import identity, levels, maps, random

from taco_kd.distill.losses.cosine import Cosine
from taco_kd.distill.losses.cwd import CWD
from taco_kd.distill.losses.feature_losses import FEATURE_LOSSES
from taco_kd.distill.losses.levels import pair_levels
from taco_kd.distill.losses.mgd import MGD
from taco_kd.distill.losses.mse import MSE
from taco_kd.distill.losses.pkd import PKD

every = pytest.mark.parametrize("kind", FEATURE_LOSSES.values(), ids=FEATURE_LOSSES)
without_mask = pytest.mark.parametrize("kind", [MSE, CWD, PKD, Cosine])
ONE = levels((3, 8))


def formula_mse(own, wanted):
    return ((own - wanted) ** 2).mean()


def formula_cwd(own, wanted, tau=1.0):
    whole = 0.0
    for b in range(len(own)):
        for k in range(own.shape[1]):
            p, q = (wanted[b, k].flatten() / tau).exp(), (own[b, k].flatten() / tau).exp()
            p, q = p / p.sum(), q / q.sum()
            whole = whole + (p * (p / q).log()).sum()
    return tau**2 * whole / (len(own) * own.shape[1])


def formula_pkd(own, wanted):
    correlations = [
        torch.corrcoef(torch.stack([own[:, k].flatten(), wanted[:, k].flatten()]))[0, 1]
        for k in range(own.shape[1])
    ]
    return torch.stack([1 - r for r in correlations]).mean()


def formula_cosine(own, wanted):
    dot, lengths = (own * wanted).sum(1), own.norm(dim=1) * wanted.norm(dim=1)
    return (1 - dot / lengths).mean()


FORMULAS = {MSE: formula_mse, CWD: formula_cwd, PKD: formula_pkd, Cosine: formula_cosine}


@without_mask
def test_equals_the_plain_formula_in_float64(kind):
    loss = identity(kind(ONE, ONE)).double()
    own, wanted = random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1)
    found = loss(maps(own), maps(wanted))
    assert found.dtype == torch.float64
    # PKD adds 1e-8 to each variance
    assert found.item() == pytest.approx(FORMULAS[kind](own, wanted).item(), rel=3e-8)


@without_mask
def test_is_zero_at_the_teacher(kind):
    loss = identity(kind(ONE, ONE))
    same = random(2, 3, 4, 5, dtype=torch.float32)
    assert loss(maps(same), maps(same)).item() == pytest.approx(0, abs=1e-6)
    assert loss(maps(same + 0.5 * random(2, 3, 4, 5, seed=1).float()), maps(same)).item() > 1e-3


def test_mse_by_hand():
    loss = MSE(levels((2, 8)), levels((1, 8)))
    with torch.no_grad():
        loss.projections[0].weight.fill_(1.0)
        loss.projections[0].bias.fill_(0.5)
    own, wanted = torch.ones(1, 2, 2, 2), torch.ones(1, 1, 2, 2)  # projected: 1 + 1 + 0.5
    assert loss(maps(own), maps(wanted)).item() == pytest.approx(1.5**2)


def test_cwd_by_hand():
    loss = identity(CWD(levels((1, 8)), levels((1, 8)), temperature=2.0))
    wanted = torch.tensor([[[[2 * math.log(3.0), 0.0]]]])  # softmax of it over 2 is (3/4, 1/4)
    own = torch.zeros(1, 1, 1, 2)
    by_hand = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert loss(maps(own), maps(wanted)).item() == pytest.approx(by_hand, rel=1e-5)


def test_cwd_with_a_temperature_equals_the_formula():
    own, wanted = random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1)
    found = identity(CWD(ONE, ONE, temperature=3.0)).double()(maps(own), maps(wanted))
    assert found.item() == pytest.approx(formula_cwd(own, wanted, tau=3.0).item(), rel=1e-9)


def test_cwd_ignores_an_offset_of_a_channel():
    own = random(2, 3, 4, 5, dtype=torch.float32)
    offset = torch.tensor([1.0, -2.0, 30.0]).view(1, 3, 1, 1)
    assert identity(CWD(ONE, ONE))(maps(own + offset), maps(own)).item() == pytest.approx(0, abs=1e-5)


def test_pkd_by_hand():
    loss = identity(PKD(levels((1, 8)), levels((1, 8))))
    one = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    assert loss(maps(one), maps(5 * one - 7)).item() == pytest.approx(0, abs=1e-6)  # r = 1
    assert loss(maps(one), maps(-one)).item() == pytest.approx(2, rel=1e-6)  # r = -1
    assert loss(maps(one), maps(torch.tensor([[[[1.0, 0.0, 1.0]]]]))).item() == pytest.approx(1, rel=1e-6)


def test_pkd_standardises_over_the_batch_and_not_image_by_image():
    own, wanted = random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1)
    shifted = wanted + torch.tensor([0.0, 9.0]).view(2, 1, 1, 1)
    loss = identity(PKD(ONE, ONE)).double()
    assert loss(maps(own), maps(wanted)).item() != pytest.approx(loss(maps(own), maps(shifted)).item())


@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_a_channel_that_is_constant_has_finite_gradients(constant):
    """A black image, or a dead channel: no variance, no direction."""
    for kind in (PKD, Cosine, CWD):
        own = torch.full((2, 3, 4, 5), constant, requires_grad=True)
        identity(kind(ONE, ONE))(maps(own), maps(random(2, 3, 4, 5).float())).backward()
        assert torch.isfinite(own.grad).all()


def test_cosine_by_hand_and_lengths_do_not_count():
    loss = identity(Cosine(levels((2, 8)), levels((2, 8))))
    own = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1)
    assert loss(maps(own), maps(torch.tensor([0.0, 2.0]).view(1, 2, 1, 1))).item() == pytest.approx(1)
    assert loss(maps(own), maps(torch.tensor([1.0, 1.0]).view(1, 2, 1, 1))).item() == pytest.approx(
        1 - math.sqrt(0.5)
    )
    assert loss(maps(own), maps(-own)).item() == pytest.approx(2)
    assert loss(maps(own), maps(9 * own)).item() == pytest.approx(0, abs=1e-6)


def generator_that_copies(loss):
    """Its two convolutions hand on what they get, which is not negative here."""
    with torch.no_grad():
        for generator in loss.generators:
            for layer in (generator[0], generator[2]):
                layer.weight.zero_()
                layer.bias.zero_()
                for k in range(len(layer.weight)):
                    layer.weight[k, k, 1, 1] = 1
    return loss


def test_mgd_equals_the_formula_with_the_mask_it_draws():
    loss = generator_that_copies(identity(MGD(ONE, ONE, mask_ratio=0.5))).double()
    own, wanted = random(2, 3, 4, 5).abs(), random(2, 3, 4, 5, seed=1)
    torch.manual_seed(7)
    found = loss(maps(own), maps(wanted))
    torch.manual_seed(7)
    mask = torch.rand(2, 1, 4, 5) >= 0.5
    assert 0 < mask.sum() < mask.numel()
    assert found.item() == pytest.approx(((own * mask - wanted) ** 2).mean().item(), rel=1e-9)


def test_mgd_runs_the_generator_on_the_masked_map():
    loss = identity(MGD(ONE, ONE)).double()
    own, wanted = random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1)
    torch.manual_seed(7)
    found = loss(maps(own), maps(wanted))
    torch.manual_seed(7)
    mask = torch.rand(2, 1, 4, 5) >= 0.65
    first, second = loss.generators[0][0], loss.generators[0][2]
    hidden = F.conv2d(own * mask, first.weight, first.bias, padding=1).clamp(min=0)
    made = F.conv2d(hidden, second.weight, second.bias, padding=1)
    assert found.item() == pytest.approx(((made - wanted) ** 2).mean().item(), rel=1e-9)


def test_mgd_floor_is_what_was_masked():
    same = random(4, 3, 16, 16).abs().float()
    assert generator_that_copies(identity(MGD(ONE, ONE, mask_ratio=0)))(maps(same), maps(same)).item() == 0
    masked = generator_that_copies(identity(MGD(ONE, ONE, mask_ratio=0.5)))(maps(same), maps(same)).item()
    assert masked == pytest.approx(0.5 * same.square().mean().item(), rel=0.1)


def test_mgd_draws_another_mask_each_time():
    loss = MGD(ONE, ONE)
    own, wanted = random(2, 3, 8, 8).float(), random(2, 3, 8, 8, seed=1).float()
    assert loss(maps(own), maps(wanted)).item() != loss(maps(own), maps(wanted)).item()


@every
def test_gradients_reach_the_student_and_what_is_trained_with_it_only(kind):
    loss = kind(levels((4, 8), (4, 16)), levels((3, 8), (5, 16)))
    own = [random(2, 4, s, s).float().requires_grad_() for s in (8, 4)]
    wanted = [random(2, c, s, s).float().requires_grad_() for c, s in ((3, 8), (5, 4))]
    loss(maps(*own), maps(*wanted)).backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in own)
    assert all(tensor.grad is None for tensor in wanted)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in loss.parameters())
    assert all(p.grad.abs().sum() > 0 for n, p in loss.named_parameters() if n.endswith("weight"))


@without_mask
def test_gradient_is_that_of_the_value(kind):
    loss = kind(levels((2, 8)), levels((3, 8))).double()
    wanted = random(2, 3, 2, 3, seed=1)
    own = random(2, 2, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda tensor: loss(maps(tensor), maps(wanted)), own)


@every
def test_stages_are_summed_paired_by_stride_and_resized(kind):
    loss = kind(levels((4, 8), (4, 16), (4, 32)), levels((3, 4), (5, 8), (6, 16)))
    assert loss.pairs == [(0, 1), (1, 2), (2, 2)]
    assert [p.out_channels for p in loss.projections] == [5, 6, 6]
    own = [random(2, 4, s, s, seed=s).float() for s in (8, 4, 2)]
    wanted = [random(2, c, s, s, seed=c).float() for c, s in ((3, 16), (5, 8), (6, 4))]
    torch.manual_seed(3)
    found = loss(maps(*own), maps(*wanted)).item()
    torch.manual_seed(3)
    by_hand = 0.0
    for index, (i, j) in enumerate(loss.pairs):
        resized = F.interpolate(wanted[j], size=own[i].shape[-2:], mode="bilinear", align_corners=False)
        by_hand += loss.stage(loss.projections[index](own[i]), resized, index).item()
    assert found == pytest.approx(by_hand, rel=1e-5)


@every
def test_the_last_levels_can_be_paired_whatever_their_strides(kind):
    loss = kind(levels((4, 16), (5, 32)), levels((6, 16)), levels="last")
    assert [(p.in_channels, p.out_channels) for p in loss.projections] == [(5, 6)]
    own = maps(random(1, 4, 8, 8).float(), random(1, 5, 2, 2).float())
    assert torch.isfinite(loss(own, maps(random(1, 6, 4, 4).float())))


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_a_float32_close_to_float64(kind, dtype):
    loss = kind(levels((4, 8)), levels((3, 8)))
    own, wanted = random(2, 4, 8, 8), random(2, 3, 8, 8, seed=1)
    torch.manual_seed(3)
    exact = loss.double()(maps(own), maps(wanted)).item()
    loss.float()
    torch.manual_seed(3)
    rough = loss(maps(own.to(dtype)), maps(wanted.to(dtype)))
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact, rel=0.02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(3)
        mixed = loss(maps(own.float()), maps(wanted.to(dtype)))
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(exact, rel=0.02)
    mixed.backward()
    assert all(p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all() for p in loss.parameters())


@every
def test_large_values_in_half_precision_stay_finite(kind):
    """The square of 300 overflows float16, and so does a sum over 4,096 places."""
    own, wanted = [(300 + random(1, 3, 64, 64, seed=s)).half() for s in (0, 1)]
    assert torch.isfinite(identity(kind(ONE, ONE))(maps(own), maps(wanted)))


@every
def test_models_without_maps_and_settings_out_of_range_are_refused(kind):
    with pytest.raises(ValueError, match="needs maps of both models"):
        kind([], ONE)
    with pytest.raises(ValueError, match="needs maps of both models"):
        kind(ONE, [])
    with pytest.raises(ValueError, match="temperature 0 must be positive"):
        CWD(ONE, ONE, temperature=0)
    with pytest.raises(ValueError, match=r"mask_ratio 1\.0 must be"):
        MGD(ONE, ONE, mask_ratio=1.0)


def test_a_vit_teaches_the_level_of_the_nearest_stride_only():
    assert pair_levels(levels((4, 8), (6, 16), (8, 32)), levels((5, 16), (5, 16))) == [(1, 1)]
    assert pair_levels(levels((4, 8), (6, 32)), levels((5, 14))) == [(0, 0)]
    loss = MSE(levels((4, 8), (6, 16), (8, 32)), levels((5, 16), (5, 16)))
    own = [random(1, c, s, s).float() for c, s in ((4, 8), (6, 4), (8, 2))]
    wanted = [random(1, 5, 4, 4, seed=s).float() for s in (1, 2)]
    by_hand = F.mse_loss(loss.projections[0](own[1]), wanted[1])
    assert loss(maps(*own), maps(*wanted)).item() == pytest.approx(by_hand.item(), rel=1e-5)
