"""What every detector must do, whatever its library: one suite over ``cases.CASES``."""

import json

import numpy as np
import pytest
import torch
from cases import CASES
from scipy.optimize import linear_sum_assignment

from taco_kd.data.dataset import DetectionDataset
from taco_kd.models import zoo
from taco_kd.models.onnx_export import export_onnx
from taco_kd.models.weights import save_model, weights_hash
from taco_kd.types import Targets, total

NAMES = ("can", "cup", "film", "paper")
EMPTY = Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 1)
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
students = pytest.mark.parametrize("case", [c for c in CASES if c.exports], ids=lambda case: case.name)


def box(*values, class_id=1):
    return Targets(torch.tensor([values]), torch.tensor([class_id]), 0)


def perturbed(case, names=NAMES):
    """The case's model off its initial point, with the statistics of its batch norms measured.

    Initial heads are zero and signals fade on their way, so that every query looks the same: equal scores
    make ties, and zero weights hide missing gradients.
    """
    torch.manual_seed(0)
    model = case.build(names)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1.0)
                module.momentum = None  # running statistics become plain means over what is seen
        for parameter in model.network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
        model.train()(images(4, model))
        for name, counter in model.network.named_buffers():
            if name.endswith("num_batches_tracked"):
                counter.zero_()  # not part of what a load must bring
    return model


def images(count, model, seed=2):
    """Coarse random patterns: pixel noise looks the same everywhere, and equal scores make ties."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    side = (model.image_size, model.image_size)
    return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear").clamp(0, 1)


def model_input(model, other, batch):
    """What ``model`` must be given so that its network sees what that of ``other`` sees of ``batch``."""
    return other.normalised(batch) * model.std + model.mean


@every
def test_shapes_ranges_and_determinism(case):
    model = perturbed(case).eval()
    batch = images(2, model)
    with torch.no_grad():
        first, again = model(batch, with_features=True), model(batch)
    queries = first.logits.shape[1]
    assert first.logits.shape == (2, queries, len(NAMES))
    assert first.boxes_cxcywh.shape == (2, queries, 4)
    assert 0 <= first.boxes_cxcywh.min() <= first.boxes_cxcywh.max() <= 1
    assert torch.isfinite(first.logits).all()
    assert torch.equal(first.logits, again.logits)
    assert torch.equal(first.boxes_cxcywh, again.boxes_cxcywh)
    assert again.features == []
    assert first.losses == {}
    for found, spec in zip(first.features, model.features_spec, strict=True):
        side = model.image_size // spec.stride
        assert found.tensor.shape == (2, spec.channels, side, side)
        assert (found.stride, found.name) == (spec.stride, spec.name)


@every
def test_scores_and_boxes_are_those_of_the_bare_module(case):
    model = perturbed(case).eval()
    batch = images(2, model)
    with torch.no_grad():
        output = model(batch)
        scores, boxes = case.scores(model, model.normalised(batch))
    assert torch.allclose(output.logits.sigmoid(), scores, atol=1e-5)
    assert torch.allclose(output.boxes_cxcywh, boxes, atol=1e-5)


@every
def test_loss_is_the_librarys(case):
    model = perturbed(case).eval()
    batch, targets = images(2, model), [box(0.4, 0.5, 0.3, 0.2), EMPTY]
    with torch.no_grad():
        terms = model(batch, targets).losses
        theirs = case.loss(model, model.normalised(batch), targets)
    assert case.comparable(terms).item() == pytest.approx(theirs.item(), rel=1e-5)


@every
def test_gradients_reach_every_trainable_parameter_in_one_forward(case):
    model = perturbed(case).train()
    calls = []
    model.backbone().register_forward_hook(lambda *_: calls.append(1))
    output = model(images(2, model), [box(0.5, 0.5, 0.2, 0.2), EMPTY], with_features=True)
    assert len(calls) == 1
    assert len(output.features) == len(model.features_spec)
    assert all(term.ndim == 0 and torch.isfinite(term) for term in output.losses.values())
    total(output.losses).backward()
    trained = [(n, p) for n, p in model.network.named_parameters() if p.requires_grad]
    assert [n for n, p in trained if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for _, p in trained)
    assert any(model.is_backbone(n) and p.grad.abs().sum() > 0 for n, p in model.named_parameters())


@every
def test_in_training_only_the_queries_of_inference_are_handed_out(case):
    model = perturbed(case)
    batch, targets = images(2, model), [box(0.5, 0.5, 0.2, 0.2), EMPTY]
    trained, evaluated = model.train()(batch, targets), model.eval()(batch)
    assert trained.logits.shape == evaluated.logits.shape
    assert trained.boxes_cxcywh.shape == evaluated.boxes_cxcywh.shape
    total(trained.losses).backward()  # the outputs must still hang together with the loss


@every
def test_in_training_every_layer_answers_for_the_queries_of_inference(case):
    model = perturbed(case).train()
    output = model(images(2, model), [box(0.5, 0.5, 0.2, 0.2), EMPTY])
    assert len(output.layers) == case.layers - 1 if case.layers else output.layers == []
    for layer in output.layers:
        assert layer.logits.shape == output.logits.shape
        assert layer.boxes_cxcywh.shape == output.boxes_cxcywh.shape
        assert 0 <= layer.boxes_cxcywh.min() <= layer.boxes_cxcywh.max() <= 1
        assert layer.logits.requires_grad
        assert not torch.equal(layer.logits, output.logits)


@every
@pytest.mark.parametrize("count", [1, 2])
def test_batches_without_any_object(case, count):
    model = perturbed(case).train()
    loss = total(model(images(count, model), [EMPTY] * count).losses)
    assert torch.isfinite(loss)
    loss.backward()


@every
@pytest.mark.parametrize("names", [NAMES, ("one",)], ids=["4", "1"])
def test_a_saved_model_comes_back_as_it_was(case, names, tmp_path):
    model = perturbed(case, names).eval()
    model.set_normalisation([0.4] * 3, [0.25] * 3)
    save_model(tmp_path / "m.safetensors", model)
    again = zoo.load(tmp_path / "m.safetensors")
    assert again.class_names == names
    assert (again.family, again.image_size) == (model.family, model.image_size)
    assert again.features_spec == model.features_spec
    assert json.dumps(again.architecture()) == json.dumps(model.architecture())
    assert weights_hash(again.network) == weights_hash(model.network)
    assert again.mean.flatten().tolist() == pytest.approx([0.4] * 3)
    assert again.std.flatten().tolist() == pytest.approx([0.25] * 3)
    batch = images(1, model)
    with torch.no_grad():
        ours, theirs = again(batch), model(batch)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.boxes_cxcywh, theirs.boxes_cxcywh)


@every
def test_a_folder_of_transformers_gives_the_same_model(case, tmp_path):
    model = perturbed(case).eval()
    if not hasattr(model.network, "save_pretrained"):
        pytest.skip("not a model of transformers")
    config = model.network.config
    config.id2label = dict(enumerate(NAMES))
    config.auxiliary_loss, trained = type(config)().auxiliary_loss, config.auxiliary_loss
    model.network.save_pretrained(tmp_path / "folder")
    config.auxiliary_loss = trained
    again = zoo.load(tmp_path / "folder")
    assert again.class_names == NAMES
    assert again.family == model.family
    assert weights_hash(again.network) == weights_hash(model.network)
    batch = images(1, model)
    with torch.no_grad():
        found = again(model_input(again, model, batch)).logits
        assert torch.allclose(found, model(batch).logits, atol=1e-4)
    # published configurations leave the losses of the inner layers off; training wants them
    again.train()
    targets = [box(0.5, 0.5, 0.2, 0.2)]
    torch.manual_seed(0)
    theirs = again(model_input(again, model, batch), targets).losses
    torch.manual_seed(0)
    ours = model.train()(batch, targets).losses
    assert {k: v.item() for k, v in theirs.items()} == pytest.approx(
        {k: v.item() for k, v in ours.items()}, rel=1e-3
    )


def assert_onnx_agrees(model, path, batches):
    onnxruntime = pytest.importorskip("onnxruntime")
    export_onnx(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in batches:
        with torch.no_grad():
            output = model(batch)
        logits, boxes = session.run(["logits", "boxes_cxcywh"], {"images": batch.numpy()})
        expected = np.concatenate([output.logits.numpy(), output.boxes_cxcywh.numpy()], axis=-1)
        found = np.concatenate([logits, boxes], axis=-1)
        assert found.shape == expected.shape
        for ours, theirs in zip(found, expected, strict=True):  # near-ties swap rows, so pair them first
            distance = np.abs(ours[:, None] - theirs[None]).max(axis=-1)
            rows, columns = linear_sum_assignment(distance)
            assert distance[rows, columns].max() < 1e-3


@students
def test_onnx_gives_the_same_predictions_for_any_batch(case, tmp_path):
    model = perturbed(case).eval()
    assert_onnx_agrees(model, tmp_path / "m.onnx", [images(count, model, seed=count) for count in (1, 3)])


def test_onnx_of_the_packaged_student_on_a_scene(small_data, tmp_path):
    model = zoo.load("packaged", expected_model="rtdetr-nano")
    batch = DetectionDataset(small_data, "val", model.image_size).image(0)[None].float() / 255
    assert_onnx_agrees(model, tmp_path / "m.onnx", [batch])
