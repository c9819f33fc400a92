"""The original's box refinement: the same values, one layer more of gradient."""

import pytest
import torch
from cases import V1, V2

from taco_kd.models import rtdetr, zoo
from taco_kd.models.refinement import inverse_sigmoid, look_forward_twice
from taco_kd.models.weights import save_model
from taco_kd.types import Targets, total

NAMES = ("can", "cup", "film")


def test_two_layers_by_hand():
    # layer 0 predicts sigmoid(c0 + logit(0.5)) = sigmoid(c0); layer 1 corrects it by c1
    first, second = (torch.full((1, 1, 4), v, requires_grad=True) for v in (0.3, -0.2))
    box0 = torch.sigmoid(first)
    box1 = torch.sigmoid(second + inverse_sigmoid(box0.detach()))
    boxes = torch.stack([box0, box1], dim=1)
    original = look_forward_twice(boxes, [first, second])
    assert torch.equal(original, boxes)
    assert original[0, 1, 0].tolist() == pytest.approx([0.5249792] * 4)  # sigmoid(0.3 - 0.2)
    # d sigmoid(c0 + c1) / d c0 = s (1 - s); detached it is zero
    slope = 0.5249792 * (1 - 0.5249792)
    (detached,) = torch.autograd.grad(boxes[:, 1].sum(), first, retain_graph=True)
    assert not detached.any()
    found, later = torch.autograd.grad(original[:, 1].sum(), (first, second))
    assert found.flatten().tolist() == pytest.approx([slope] * 4, rel=1e-4)
    assert later.flatten().tolist() == pytest.approx([slope] * 4, rel=1e-4)


def test_the_gradient_goes_one_layer_back_and_not_two():
    corrections = [torch.full((1, 1, 4), 0.1 * i, requires_grad=True) for i in range(3)]
    boxes, before = [], torch.full((1, 1, 4), 0.5)
    for correction in corrections:
        boxes.append(torch.sigmoid(correction + inverse_sigmoid(before)))
        before = boxes[-1].detach()
    last = look_forward_twice(torch.stack(boxes, dim=1), corrections)[:, 2].sum()
    first, second, third = torch.autograd.grad(last, corrections)
    assert not first.any()
    assert second.abs().min() > 0
    assert third.abs().min() > 0


def gradients(refinement, architecture):
    torch.manual_seed(0)
    model = rtdetr.rebuild(architecture, NAMES, model_name="tiny", image_size=128).train()
    for head in model.network.model.decoder.bbox_embed:
        torch.nn.init.normal_(head.layers[-1].weight, std=0.1)  # at zero no gradient passes at all
    model.refinement = refinement
    targets = [Targets(torch.tensor([[0.4, 0.5, 0.2, 0.2]]), torch.tensor([1]), 0)]
    torch.manual_seed(1)  # denoising
    output = model(torch.rand(1, 3, 128, 128), targets)
    total(output.losses).backward()
    return output, {n: p.grad.clone() for n, p in model.network.named_parameters()}


@pytest.mark.parametrize("architecture", [V1, V2], ids=["v1", "v2"])
def test_a_step_of_rtdetr_has_equal_values_and_other_gradients(architecture):
    ours, original = gradients("original", architecture)
    theirs, detached = gradients("detached", architecture)
    assert torch.equal(ours.boxes_cxcywh, theirs.boxes_cxcywh)
    assert torch.equal(ours.logits, theirs.logits)
    assert {k: v.item() for k, v in ours.losses.items()} == {k: v.item() for k, v in theirs.losses.items()}

    def changed(layer):
        key = f"model.decoder.bbox_embed.{layer}.layers.2.weight"
        return not torch.allclose(original[key], detached[key], rtol=1e-3)

    assert changed(0)
    assert changed(1)
    assert not changed(2)  # the last layer's head has nobody after it


def test_no_hook_stays_behind_and_evaluation_is_untouched():
    model = rtdetr.build_nano(NAMES).train()
    model.refinement = "original"
    model(torch.rand(1, 3, 192, 192))
    modules = [model.network.model.decoder, *model.network.model.decoder.bbox_embed]
    assert all(not module._forward_hooks for module in modules)
    images = torch.rand(1, 3, 192, 192)
    with torch.no_grad():
        original = model.eval()(images).boxes_cxcywh
        model.refinement = "detached"
        assert torch.equal(model(images).boxes_cxcywh, original)


def test_the_choice_travels_with_the_checkpoint(tmp_path):
    model = rtdetr.build_nano(NAMES)
    model.refinement = "original"
    save_model(tmp_path / "m.safetensors", model)
    assert zoo.load(tmp_path / "m.safetensors").refinement == "original"
