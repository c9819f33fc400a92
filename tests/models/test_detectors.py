"""What every detector of the zoo must do; the nano ones stand for their families."""

import pytest
import torch

from taco_kd.models.decode import decode
from taco_kd.models.zoo import MODELS
from taco_kd.types import DetectorOutput, Targets, total

NAMES = ("can", "cup", "film", "paper")
NANO = [entry for entry in MODELS.values() if entry.name.endswith("nano")]


@pytest.fixture(params=NANO, ids=lambda entry: entry.name)
def model(request):
    torch.manual_seed(0)
    return request.param.build(NAMES)


def box(*values, class_id=1):
    return Targets(torch.tensor([values]), torch.tensor([class_id]), 0)


EMPTY = Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 1)


def test_shapes_ranges_and_determinism(model):
    model.eval()
    images = torch.rand(2, 3, model.image_size, model.image_size)
    with torch.no_grad():
        first = model(images, with_features=True)
        again = model(images)
    queries = model.network.config.num_queries
    assert first.logits.shape == (2, queries, len(NAMES))
    assert first.boxes_cxcywh.shape == (2, queries, 4)
    assert first.boxes_cxcywh.min() >= 0
    assert first.boxes_cxcywh.max() <= 1
    assert torch.equal(first.logits, again.logits)
    assert again.features == []
    assert first.losses == {}
    for found, spec in zip(first.features, model.features_spec, strict=True):
        side = model.image_size // spec.stride
        assert found.tensor.shape == (2, spec.channels, side, side)
        assert (found.stride, found.name) == (spec.stride, spec.name)


def test_one_forward_gives_loss_and_features_and_gradients_flow(model):
    model.train()
    calls = []
    model.backbone().register_forward_hook(lambda *_: calls.append(1))
    output = model(
        torch.rand(2, 3, model.image_size, model.image_size),
        [box(0.5, 0.5, 0.2, 0.2), EMPTY],
        with_features=True,
    )
    assert len(calls) == 1
    assert all(term.ndim == 0 and torch.isfinite(term) for term in output.losses.values())
    total(output.losses).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_a_batch_without_any_object_and_a_batch_of_one_image(model):
    model.train()
    output = model(torch.rand(1, 3, model.image_size, model.image_size), [EMPTY])
    loss = total(output.losses)
    assert torch.isfinite(loss)
    loss.backward()


def test_loss_terms_add_up_to_the_loss_of_transformers(model):
    model.eval()
    images = torch.rand(1, 3, model.image_size, model.image_size)
    targets = [box(0.4, 0.5, 0.3, 0.2)]
    with torch.no_grad():
        terms = model(images, targets).losses
        labels = [{"class_labels": t.class_ids, "boxes": t.boxes_cxcywh} for t in targets]
        theirs = model.network(pixel_values=(images - model.mean) / model.std, labels=labels).loss
    # transformers ignores cls_loss_coefficient (2) of Conditional DETR and weighs the class term with 1
    ours = total({k: t / 2 if k == "ce" else t for k, t in terms.items()})
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_the_model_normalises_its_own_input():
    model = MODELS["conditional-detr-nano"].build(NAMES).eval()
    images = torch.rand(1, 3, 192, 192)
    with torch.no_grad():
        plain = model(images).logits
        model.mean.fill_(0.5)
        model.std.fill_(0.25)
        shifted = model(images * 0.25 + 0.5).logits
    assert torch.allclose(plain, shifted, atol=1e-4)


def test_decode_by_hand():
    output = DetectorOutput(
        torch.tensor([[[2.0, -3.0], [-1.0, 1.0]]]),
        torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.95, 0.5, 0.2, 0.2]]]),
    )
    (found,) = decode(output, width=100, height=50, top_k=3)
    assert found.class_ids.tolist() == [0, 1, 0]
    assert found.scores.tolist() == pytest.approx(torch.tensor([2.0, 1.0, -1.0]).sigmoid().tolist())
    assert found.boxes_xyxy[0].tolist() == pytest.approx([40, 15, 60, 35])
    assert found.boxes_xyxy[1].tolist() == pytest.approx([85, 20, 100, 30])  # clipped at the right
