"""The full-size models of the DETR families: published sizes, input conventions, heads and losses."""

import math
import re

import pytest
import torch
from cases import CASES

from taco_kd.models import conditional_detr, d_fine, dab_detr, deformable_detr, detr, rtdetr
from taco_kd.models.d_fine_loss import _layers, d_fine_loss
from taco_kd.models.detr import sigmoid_logits

FAMILIES = [m.FAMILY for m in (rtdetr, conditional_detr, detr, deformable_detr, dab_detr, d_fine)]
ENTRIES = {e.name: e for family in FAMILIES for e in family.entries}
FULL_SIZE = [e for e in ENTRIES.values() if not e.name.endswith("nano")]
SIXTY = [str(i) for i in range(60)]


def on_meta(entry, names=SIXTY):
    with torch.device("meta"):
        return entry.build(names)


# exact count with the 80 or 91 classes of the published weights, and the million that the authors print
PARAMETERS = {
    "rtdetr-r18": (80, 20_174_608, 20),
    "rtdetr-r34": (80, 31_424_388, 31),
    "rtdetr-r50": (80, 42_891_372, 42),
    "rtdetr-r101": (80, 76_556_268, 76),
    "rtdetrv1-r18": (80, 20_174_608, 20),
    "rtdetrv1-r34": (80, 31_424_388, 31),
    "rtdetrv1-r50": (80, 42_891_372, 42),
    "rtdetrv1-r101": (80, 76_556_268, 76),
    "conditional-detr-r50": (91, 43_418_401, 44),
    "conditional-detr-r101": (91, 62_358_305, 63),
    "detr-r50": (91, 41_524_768, 41),
    "detr-r101": (91, 60_464_672, 60),
    "deformable-detr-r50": (91, 40_069_665, 40),
    "dab-detr-r50": (91, 43_671_517, 44),
    "dfine-n": (80, 3_770_421, 4),
    "dfine-s": (80, 10_309_605, 10),
    "dfine-m": (80, 19_563_368, 19),
    "dfine-l": (80, 31_244_152, 31),
    "dfine-x": (80, 62_621_560, 62),
}


@pytest.mark.parametrize("entry", FULL_SIZE, ids=lambda entry: entry.name)
def test_parameters_are_the_published_ones(entry):
    classes, exact, millions = PARAMETERS[entry.name]
    model = on_meta(entry, [str(i) for i in range(classes)])
    count = sum(p.numel() for p in model.network.parameters())
    assert count == exact
    assert abs(count / 1e6 - millions) < 1
    assert (model.model_name, model.image_size) == (entry.name, entry.image_size)


def test_the_papers_model_with_its_60_classes():
    model = on_meta(ENTRIES["rtdetr-r50"])
    assert sum(p.numel() for p in model.network.parameters()) == 42_850_272


def test_input_conventions_are_those_of_the_image_processors():
    from transformers import DetrImageProcessor, RTDetrImageProcessor

    assert RTDetrImageProcessor.do_normalize is False
    assert RTDetrImageProcessor.size == {"height": 640, "width": 640}
    assert DetrImageProcessor.do_normalize is True
    assert DetrImageProcessor.size["shortest_edge"] == 800
    for entry in FULL_SIZE:
        if entry.family in ("RT-DETR", "RT-DETRv2", "D-FINE"):
            assert entry.image_size == RTDetrImageProcessor.size["height"]
        elif entry.family != "Conditional DETR":  # the paper feeds it 640 px
            assert entry.image_size == DetrImageProcessor.size["shortest_edge"]
    student, teacher = ENTRIES["rtdetr-r18"].build(("can",)), ENTRIES["detr-r50"].build(("can",))
    assert (student.mean.unique().tolist(), student.std.unique().tolist()) == ([0.0], [1.0])
    assert teacher.mean.flatten().tolist() == pytest.approx(DetrImageProcessor.image_mean)
    assert teacher.std.flatten().tolist() == pytest.approx(DetrImageProcessor.image_std)


def test_published_weights_are_pinned_or_say_that_they_are_not():
    published = {e.name: e.published for e in FULL_SIZE if e.published is not None}
    unpinned = {name for name, p in published.items() if not re.fullmatch(r"[0-9a-f]{40}", p.revision)}
    assert all(published[name].revision == "main" for name in unpinned)
    assert {"rtdetr-r50", "rtdetr-r18", "rtdetrv1-r50", "detr-r50", "dfine-s"}.isdisjoint(unpinned)
    assert {p.licence for p in published.values()} == {"Apache-2.0"}
    for name, p in published.items():
        assert p.classes == ("coco-80" if name.startswith(("rtdetr", "dfine")) else "coco-91")


@pytest.mark.parametrize("name", ["detr-r50", "conditional-detr-r50", "deformable-detr-r50", "dab-detr-r50"])
def test_only_stem_and_first_stage_of_the_backbone_are_frozen(name):
    model = on_meta(ENTRIES[name])
    frozen = {n for n, p in model.network.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(model.is_backbone(f"network.{n}") for n in frozen)
    assert all("layer1." in n or "conv1." in n.split("model.")[-1] for n in frozen)
    assert not any(f"layer{stage}." in n for n in frozen for stage in (2, 3, 4))


@pytest.mark.parametrize("name", ["conditional-detr", "deformable-detr", "dab-detr", "rtdetr", "d-fine"])
def test_random_classifiers_start_at_a_rare_positive(name):
    (case,) = [c for c in CASES if c.name == name]
    model = case.build(SIXTY)
    with torch.no_grad():
        scores = model.eval()(torch.rand(1, 3, 128, 128)).logits.sigmoid()
    assert scores.mean() < 0.05  # 0.01, or 1 / 61 in RT-DETR; without it one half


def test_the_softmax_head_is_converted_exactly():
    z = torch.tensor([[2.0, -1.0, 0.5], [60.0, 0.0, -5.0], [-80.0, 0.0, 30.0], [1.0, 1.0, 1.0]])
    found = sigmoid_logits(z)
    for row, (a, b, nothing) in zip(found.tolist(), z.tolist(), strict=True):
        # p / (1 - p) of a class is its exponential over the sum of the other two
        assert row[0] == pytest.approx(a - math.log(math.exp(b) + math.exp(nothing)), abs=1e-4)
        assert row[1] == pytest.approx(b - math.log(math.exp(a) + math.exp(nothing)), abs=1e-4)
    assert torch.allclose(found.sigmoid(), z.softmax(-1)[:, :2], atol=1e-6)


def test_the_converted_head_has_finite_gradients():
    z = torch.tensor([[40.0, -40.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    sigmoid_logits(z).sum().backward()
    assert torch.isfinite(z.grad).all()


def test_each_layer_of_d_fine_is_paired_with_its_own_distribution():
    from transformers.models.d_fine.modeling_d_fine import distance2bbox, weighting_function

    (case,) = [c for c in CASES if c.name == "d-fine"]
    torch.manual_seed(0)
    model = case.build(("can", "cup")).train()
    decoder = model.network.model.decoder
    for head in decoder.bbox_embed:
        torch.nn.init.normal_(head.layers[-1].weight, std=0.3)
    labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.4, 0.5, 0.3, 0.2]])}]
    with torch.no_grad():
        raw = model.network(pixel_values=torch.rand(1, 3, 128, 128), labels=labels)
        first, layers = _layers(raw, slice(None))
        project = weighting_function(decoder.max_num_bins, decoder.up, decoder.reg_scale)
        assert (len(first), len(layers)) == (1, model.network.config.decoder_layers)
        for layer in layers:
            distances = decoder.integral(layer["pred_corners"], project)
            boxes = distance2bbox(layer["ref_points"], distances, decoder.reg_scale).clamp(0, 1)
            assert torch.allclose(boxes, layer["pred_boxes"], atol=1e-6)
        ours = d_fine_loss(model.network.config, raw, labels)
    # transformers leaves out the last layer's localisation and one layer's class term; the rest is shared
    assert {"loss_fgl", "loss_vfl_aux_3"} <= set(ours) - set(raw.loss_dict)
    assert ours["loss_vfl"].item() == pytest.approx(raw.loss_dict["loss_vfl"].item())
