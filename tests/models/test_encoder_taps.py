"""Encoder maps and self-attention, taken on their way through one forward."""

import pytest
import torch
from cases import CASES

from taco_kd.types import Targets, total

NAMES = ("can", "cup", "film", "paper")
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
attending = pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.name in ("rtdetr", "rtdetrv1", "d-fine", "conditional-detr", "detr")],
    ids=lambda case: case.name,
)


def built(case):
    torch.manual_seed(0)
    return case.build(NAMES)


def images(model, *, rows=None, columns=None):
    generator = torch.Generator().manual_seed(1)
    side = model.image_size
    return torch.rand(2, 3, rows or side, columns or side, generator=generator)


@every
def test_what_a_family_offers_comes_and_nothing_else(case):
    model = built(case).eval()
    with torch.no_grad():
        output = model(images(model), with_features=True, with_encoder=True, with_attention=True)
    assert model.offers >= {"features"}
    assert bool(output.encoder_maps) == ("encoder" in model.offers) == bool(model.encoder_spec)
    assert (output.attention is not None) == ("attention" in model.offers)
    for found, spec in zip(output.encoder_maps, model.encoder_spec, strict=True):
        side = model.image_size // spec.stride
        assert found.tensor.shape == (2, spec.channels, side, side)
        assert (found.stride, found.name) == (spec.stride, spec.name)


@attending
@pytest.mark.parametrize("training", [False, True])
def test_outputs_do_not_change_and_nothing_runs_twice(case, training):
    model = built(case).train(training)
    batch = images(model)
    targets = [Targets(torch.tensor([[0.5, 0.5, 0.2, 0.3]]), torch.tensor([1]), i) for i in range(2)]
    calls = []
    layer, _ = model.attention_layer()
    layer.register_forward_hook(lambda *_: calls.append("attention"))
    model.network.model.encoder.register_forward_hook(lambda *_: calls.append("encoder"))
    model.backbone().register_forward_hook(lambda *_: calls.append("backbone"))
    torch.manual_seed(1)
    plain = model(batch, targets)
    assert sorted(calls) == ["attention", "backbone", "encoder"]
    calls.clear()
    torch.manual_seed(1)
    tapped = model(batch, targets, with_features=True, with_encoder=True, with_attention=True)
    assert sorted(calls) == ["attention", "backbone", "encoder"]
    assert torch.equal(plain.logits, tapped.logits)
    assert torch.equal(plain.boxes_cxcywh, tapped.boxes_cxcywh)
    assert total(plain.losses).item() == total(tapped.losses).item()
    assert plain.encoder_maps == []
    assert plain.attention is None
    assert len(model.backbone()._forward_hooks) == 1  # the one of this test: those of the taps are gone


@attending
def test_attention_is_the_librarys_own(case):
    """transformers forms the weights itself where its eager attention is asked for them."""
    model = built(case).eval()
    batch = images(model, rows=model.image_size, columns=model.image_size + 64)
    layer, level = model.attention_layer()
    with torch.no_grad():
        output = model(batch, with_features=True, with_attention=True)
        model.network.set_attn_implementation("eager")
        kept = []
        layer.register_forward_hook(lambda _module, _inputs, result: kept.append(result[1]))
        model(batch)
    found = output.attention
    assert (found.height, found.width) == tuple(output.features[level].tensor.shape[-2:])
    assert found.height != found.width
    assert found.tensor.shape == (2, 2, *[found.height * found.width] * 2)
    assert torch.allclose(found.tensor, kept[0], atol=1e-6)
    assert torch.allclose(found.tensor.sum(-1), torch.ones(()), atol=1e-5)


@attending
def test_gradients_flow_back_through_maps_and_attention(case):
    model = built(case).train()
    output = model(images(model), with_encoder=True, with_attention=True)
    layer, _ = model.attention_layer()
    output.attention.tensor[..., 0].sum().backward(retain_graph=True)
    assert layer.q_proj.weight.grad.abs().sum() > 0
    assert layer.k_proj.weight.grad.abs().sum() > 0
    assert layer.v_proj.weight.grad is None
    model.zero_grad(set_to_none=True)
    output.encoder_maps[0].tensor.square().sum().backward()
    assert layer.v_proj.weight.grad.abs().sum() > 0


@attending
def test_attention_under_autocast_is_float32(case):
    model = built(case).eval()
    with torch.no_grad():
        exact = model(images(model), with_attention=True).attention.tensor
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(images(model), with_attention=True).attention.tensor
    assert rough.dtype == torch.float32
    assert torch.allclose(rough, exact, atol=0.02)
