"""Injected queries: seen by nobody else, answered at every layer, gone at inference."""

import onnx
import pytest
import torch
from cases import V1, V2, _timm

from taco_kd.errors import UsageError
from taco_kd.models import conditional_detr, rtdetr
from taco_kd.models.injection import group_mask
from taco_kd.models.onnx_export import export_onnx
from taco_kd.types import QueryGroup, Targets, total

NAMES = ("can", "cup", "film")
OBJECTS = Targets(torch.tensor([[0.4, 0.5, 0.2, 0.2], [0.7, 0.3, 0.1, 0.3]]), torch.tensor([1, 2]), 0)
EMPTY = Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 1)
BATCHES = {"objects": [OBJECTS, OBJECTS], "one empty": [OBJECTS, EMPTY], "all empty": [EMPTY, EMPTY]}
BUILDERS = {
    "v1": lambda: rtdetr.rebuild(V1, NAMES, model_name="tiny", image_size=128),
    "v2": lambda: rtdetr.rebuild(V2, NAMES, model_name="tiny", image_size=128),
    "v2-original": lambda: rtdetr.rebuild(
        {**V2, "refinement": "original"}, NAMES, model_name="tiny", image_size=128
    ),
    "timm": lambda: _timm("tf_efficientnet_lite0")(NAMES),
}
every = pytest.mark.parametrize("build", BUILDERS.values(), ids=list(BUILDERS))


def build_model(build):
    """In training mode, with heads that are not zero and batch norms that do not move."""
    torch.manual_seed(0)
    model = build().train()
    for head in model.network.model.decoder.bbox_embed:
        torch.nn.init.normal_(head.layers[-1].weight, std=0.1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    return model


def group(*valid):
    """One row of validity an image; boxes and classes differ from query to query."""
    kept = torch.tensor(valid, dtype=torch.bool)
    generator = torch.Generator().manual_seed(5)
    boxes = torch.rand(*kept.shape, 4, generator=generator) * 0.4 + 0.2
    classes = torch.arange(kept.numel()).view(kept.shape) % len(NAMES)
    return QueryGroup(boxes, classes.masked_fill(~kept, len(NAMES)), kept)


def step(model, targets, queries):
    """Output and gradients of one step; the random numbers of denoising begin at the same point."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    images = torch.rand(2, 3, 128, 128)
    output = model(images, targets, queries=queries)
    total(output.losses).backward(retain_graph=True)
    after = torch.rand(1).item()
    return output, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, after


@every
@pytest.mark.parametrize("targets", BATCHES.values(), ids=list(BATCHES))
def test_nothing_else_changes(build, targets):
    model = build_model(build)
    plain, plain_gradients, plain_after = step(model, targets, None)
    output, gradients, after = step(model, targets, group([1, 1, 1, 0, 0], [0] * 5))
    assert after == plain_after  # no random number more
    assert torch.allclose(output.logits, plain.logits, atol=1e-5)
    assert torch.allclose(output.boxes_cxcywh, plain.boxes_cxcywh, atol=1e-5)
    assert {k: v.item() for k, v in output.losses.items()} == pytest.approx(
        {k: v.item() for k, v in plain.losses.items()}, rel=1e-4
    )
    assert len(output.layers) == len(plain.layers) == 2
    for ours, theirs in zip(output.layers, plain.layers, strict=True):
        assert torch.allclose(ours.logits, theirs.logits, atol=1e-5)
        assert torch.allclose(ours.boxes_cxcywh, theirs.boxes_cxcywh, atol=1e-5)
    for name, gradient in gradients.items():
        expected = plain_gradients.get(name, torch.zeros(1))  # the embedding, in a batch without denoising
        assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-4), name
    assert plain.injected == []
    assert len(output.injected) == 3
    for layer in output.injected:
        assert layer.logits.shape == (2, 5, len(NAMES))
        assert layer.boxes_cxcywh.shape == (2, 5, 4)
        assert torch.isfinite(layer.logits).all()
        assert torch.isfinite(layer.boxes_cxcywh).all()


@every
def test_padding_is_seen_by_nobody_and_images_do_not_mix(build):
    model = build_model(build)
    torch.manual_seed(3)
    images = torch.rand(2, 3, 128, 128)
    queries = group([1, 1, 0], [1, 0, 0])
    other = QueryGroup(queries.boxes_cxcywh.clone(), queries.class_ids.clone(), queries.valid)
    other.boxes_cxcywh[~other.valid] = 0.9
    other.class_ids[~other.valid] = 0
    other.class_ids[1, 0] = (queries.class_ids[1, 0] + 1) % len(NAMES)
    with torch.no_grad():
        first, second = (model(images, queries=q).injected[-1] for q in (queries, other))
    assert torch.allclose(first.logits[0, :2], second.logits[0, :2], atol=1e-6)
    assert not torch.allclose(first.logits[1, 0], second.logits[1, 0], atol=1e-4)


@every
def test_the_group_sees_itself(build):
    model = build_model(build)
    images = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(3))
    queries = group([1, 1])
    renamed = queries.class_ids.clone()
    renamed[0, 1] = (renamed[0, 1] + 1) % len(NAMES)
    other = QueryGroup(queries.boxes_cxcywh, renamed, queries.valid)
    with torch.no_grad():
        first, second = (model(images, queries=q).injected[-1].logits[0, 0] for q in (queries, other))
    assert not torch.allclose(first, second, atol=1e-4)


@every
def test_gradients_reach_backbone_decoder_and_class_embedding(build):
    model = build_model(build)
    output = model(torch.rand(2, 3, 128, 128), [OBJECTS, EMPTY], queries=group([1, 1], [1, 0]))
    for layer, answer in enumerate(output.injected):
        model.zero_grad(set_to_none=True)
        (answer.logits[0].sum() + answer.boxes_cxcywh[0].sum()).backward(retain_graph=True)
        named = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert "network.model.denoising_class_embed.weight" in named
        assert any(model.is_backbone(name) for name in named)
        assert any(f"decoder.layers.{layer}." in name for name in named)


@every
def test_mixed_precision(build):
    model = build_model(build)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(torch.rand(2, 3, 128, 128), [OBJECTS, EMPTY], queries=group([1, 1], [0, 0]))
    assert all(torch.isfinite(layer.logits).all() for layer in output.injected)
    total(output.losses).backward()


def test_an_injected_box_begins_where_it_is_told():
    torch.manual_seed(0)
    model = rtdetr.rebuild(V2, NAMES, model_name="tiny", image_size=128).train()
    for head in model.network.model.decoder.bbox_embed:  # a head of zeros corrects nothing
        torch.nn.init.zeros_(head.layers[-1].weight)
        torch.nn.init.zeros_(head.layers[-1].bias)
    queries = group([1, 1, 1])
    output = model(torch.rand(1, 3, 128, 128), [OBJECTS], queries=queries)
    for layer in output.injected:
        assert torch.allclose(layer.boxes_cxcywh, queries.boxes_cxcywh, atol=1e-4)


def test_inference_is_the_same_graph_as_of_a_model_that_never_saw_a_group(tmp_path):
    model = build_model(BUILDERS["v2"])
    with torch.no_grad():
        for parameter in model.parameters():  # the exporter merges weights that are equal
            parameter.add_(0.01 * torch.randn_like(parameter))
    keys = list(model.network.state_dict())
    export_onnx(model, tmp_path / "before.onnx")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    output = model(torch.rand(2, 3, 128, 128), [OBJECTS, EMPTY], queries=group([1, 1], [1, 0]))
    (total(output.losses) + output.injected[-1].logits.square().mean()).backward()
    optimizer.step()
    assert list(model.network.state_dict()) == keys
    assert not model.network.model.decoder._forward_hooks
    assert not model.network.model.decoder._forward_pre_hooks
    export_onnx(model, tmp_path / "after.onnx")
    graphs = [onnx.load(tmp_path / name).graph for name in ("before.onnx", "after.onnx")]
    nodes, weights = ([list(getattr(g, part)) for g in graphs] for part in ("node", "initializer"))
    assert nodes[0] == nodes[1]
    assert [(w.name, w.dims) for w in weights[0]] == [(w.name, w.dims) for w in weights[1]]
    twin = BUILDERS["v2"]()  # with the same weights: the same file, byte for byte
    twin.network.load_state_dict(model.network.state_dict())
    export_onnx(twin, tmp_path / "twin.onnx")
    assert (tmp_path / "twin.onnx").read_bytes() == (tmp_path / "after.onnx").read_bytes()


def test_mask_by_hand():
    inf = -torch.inf
    others = torch.tensor([[0.0, inf], [0.0, 0.0]])
    mask = group_mask(torch.tensor([[True, True, False], [False, False, False]]), 2, others)
    assert mask.shape == (2, 1, 5, 5)
    assert mask[0, 0].tolist() == [
        [0, 0, inf, inf, inf],
        [0, 0, inf, inf, inf],
        [0, 0, 0, inf, inf],  # padding sees itself too: no empty row
        [inf, inf, inf, 0, inf],
        [inf, inf, inf, 0, 0],
    ]
    assert mask[1, 0, :3, :3].tolist() == [[0, inf, inf], [inf, 0, inf], [inf, inf, 0]]
    assert group_mask(torch.ones(1, 1, dtype=torch.bool), 2, None)[0, 0, 1:, 1:].tolist() == [[0, 0], [0, 0]]


def test_who_takes_no_queries_says_so():
    bare = rtdetr.rebuild({**V2, "num_denoising": 0}, NAMES, model_name="tiny", image_size=128).train()
    assert not bare.takes_queries
    with pytest.raises(UsageError, match=r"tiny has no denoising \(num_denoising = 0\)"):
        bare(torch.rand(1, 3, 128, 128), queries=group([1]))
    teacher = conditional_detr.build_nano(NAMES)
    assert not teacher.takes_queries
    with pytest.raises(UsageError, match="conditional-detr-nano takes no injected queries"):
        teacher(torch.rand(1, 3, 192, 192), queries=group([1]))
    student = rtdetr.rebuild(V2, NAMES, model_name="tiny", image_size=128)
    assert student.takes_queries
    with pytest.raises(ValueError, match="in training only"):
        student.eval()(torch.rand(1, 3, 128, 128), queries=group([1]))


def test_a_group_that_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="do not describe the same B x K queries"):
        QueryGroup(torch.zeros(1, 2, 4), torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 2).bool())


@pytest.mark.parametrize("training", [True, False])
def test_layers_are_those_of_the_loss(training):
    model = build_model(BUILDERS["v2"]).train(training)
    output = model(torch.rand(2, 3, 128, 128), [OBJECTS, EMPTY])
    assert len(output.layers) == 2
    for layer in output.layers:
        assert layer.logits.shape == output.logits.shape
        assert layer.boxes_cxcywh.shape == output.boxes_cxcywh.shape
