"""One trained network in every accepted format: saved, read back, and equal in what it finds."""

import argparse
import json

import pytest
import torch
from original_layouts import conditional_detr as original_conditional_detr
from original_layouts import rtdetr as original_rtdetr
from safetensors.torch import save_file

from taco_kd.models import conditional_detr, zoo
from taco_kd.models.loading import load_into
from taco_kd.models.original_names import recognise
from taco_kd.models.stored import Stored
from taco_kd.models.weight_files import read_safetensors
from taco_kd.models.weights import save_model, weights_hash
from tests.conformance.cases import CASES

NANO = "rtdetr-nano"
HF_CASES = ("rtdetr", "rtdetrv1", "conditional-detr", "detr", "deformable-detr", "dab-detr", "d-fine")


@pytest.fixture(scope="module")
def trained():
    """The packaged nano RT-DETR: 950 steps, so its scores are no ties."""
    return zoo.load(zoo.packaged_file(zoo.find(NANO)))


@pytest.fixture(scope="module")
def images():
    return torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(4))


def save_hf(model, folder, **kwargs):
    model.network.config.id2label = dict(enumerate(model.class_names))
    model.network.save_pretrained(folder, **kwargs)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 192, "width": 192}, "do_normalize": False, "do_rescale": True})
    )
    return folder


def ours(model, folder):
    save_model(folder / "ours.safetensors", model)
    return folder / "ours.safetensors"


def hf_folder(model, folder):
    return save_hf(model, folder / "hf")


def hf_shards(model, folder):
    saved = save_hf(model, folder / "shards", max_shard_size="2MB")
    assert len(list(saved.glob("model-*.safetensors"))) > 2
    return saved


def hf_bin(model, folder):
    saved = save_hf(model, folder / "bin")
    state = read_safetensors(saved / "model.safetensors")[0]
    torch.save(state, saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    return saved


def hf_file(model, folder):
    return save_hf(model, folder / "plain") / "model.safetensors"


def own_names(model, folder):
    state = {k: v.clone() for k, v in model.network.state_dict().items()}
    save_file(state, folder / "names.safetensors")
    return folder / "names.safetensors"


def original_ema(model, folder):
    average = original_rtdetr(model.network)
    raw = {k: torch.zeros_like(v) for k, v in average.items()}
    values = {"last_epoch": 71, "model": raw, "ema": {"module": average, "updates": 7}, "optimizer": {}}
    values["args"] = argparse.Namespace(lr=1e-4, config="rtdetrv2.yml")
    torch.save(values, folder / "ema.pth")
    return folder / "ema.pth"


def original_model(model, folder):
    torch.save({"date": "today", "model": original_rtdetr(model.network)}, folder / "model.pth")
    return folder / "model.pth"


def original_v1(model, folder):
    torch.save(original_rtdetr(model.network, version=1), folder / "v1.pth")
    return folder / "v1.pth"


def original_safetensors(model, folder):
    save_file(original_rtdetr(model.network), folder / "original.safetensors")
    return folder / "original.safetensors"


FORMATS = {
    "ours (.safetensors)": ours,
    "transformers folder": hf_folder,
    "transformers folder, sharded": hf_shards,
    "transformers folder, pytorch_model.bin": hf_bin,
    "model.safetensors of transformers, alone": hf_file,
    ".safetensors with module names": own_names,
    "RT-DETRv2 authors' .pth, ema.module": original_ema,
    "RT-DETRv2 authors' .pth, model": original_model,
    "RT-DETR (v1) authors' names, .pth": original_v1,
    "RT-DETRv2 authors' names, .safetensors": original_safetensors,
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_trained_network_comes_back_with_equal_outputs(trained, images, tmp_path, name):
    path = FORMATS[name](trained, tmp_path)
    classes = tmp_path / "classes.txt"
    classes.write_text("\n".join(trained.class_names))
    options = zoo.LoadOptions(classes=str(classes))
    again, (report,) = zoo.make(NANO, trained.class_names, weights=str(path), seed=9, options=options)
    with torch.no_grad():
        before, after = trained(images), again.eval()(images)
    difference = max(
        (before.logits - after.logits).abs().max().item(),
        (before.boxes_cxcywh - after.boxes_cxcywh).abs().max().item(),
    )
    print(f"| {name} | {len(report.matched)} of {report.keys} | {len(report.unexpected)} | {difference:g} |")
    if "v1" in name:  # version 1 has no scale of sampling points, a constant that is no weight
        assert all(key.endswith("n_points_scale") for key in report.missing)
        assert "99.9 % of the values" in report.line()
    else:
        assert (report.matched_share, report.missing) == (1.0, [])
    assert (report.unexpected, report.reshaped) == ([], [])
    assert report.rows_by_name == list(trained.class_names)
    assert report.origin.get("sha256") or "shards" in report.kind
    assert difference == 0.0
    assert weights_hash(again.network) == weights_hash(trained.network)


@pytest.mark.parametrize("form", [hf_folder, hf_shards, hf_bin])
def test_a_transformers_folder_says_itself_what_it_is(trained, images, tmp_path, form):
    path = form(trained, tmp_path)
    again = zoo.load(path)
    assert again.class_names == trained.class_names
    assert again.image_size == 192
    assert torch.equal(again.std, trained.std)
    with torch.no_grad():
        assert torch.equal(again(images).logits, trained(images).logits)
    # and can be trained on other classes as it is: its own architecture, rows by name
    other, (report,) = zoo.make(str(path), ("Cigarette", "Banana"), weights=str(path))
    assert other.class_names == ("Cigarette", "Banana")
    assert (report.rows_by_name, report.rows_at_random) == (["Cigarette"], ["Banana"])
    # a checkpoint of it is one of ours like any other
    save_model(tmp_path / "mine.safetensors", other)
    assert weights_hash(zoo.load(tmp_path / "mine.safetensors").network) == weights_hash(other.network)


def test_the_authors_conditional_detr_on_a_torchvision_resnet():
    """Small, but with the names of the full one: timm's ResNet has torchvision's names."""
    names = ("can", "cup", "film")
    architecture = {
        **zoo.find("conditional-detr-r50").build(names).architecture(),
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
    }
    torch.manual_seed(1)
    source = conditional_detr.rebuild(architecture, names, model_name="x", image_size=64)
    state = original_conditional_detr(source.network)
    assert recognise(state) is not None
    target = conditional_detr.rebuild(architecture, names, model_name="x", image_size=64)
    report = load_into(target, Stored("theirs.pth", "test", state), source_classes=names)
    assert (report.matched_share, report.missing, report.unexpected) == (1.0, [], [])
    assert weights_hash(target.network) == weights_hash(source.network)


def test_full_size_rtdetr_takes_the_authors_names():
    """R50: bottlenecks, six decoder layers; the nano has basic blocks and three."""
    names = ("can", "cup")
    torch.manual_seed(1)
    source = zoo.find("rtdetr-r50").build(names)
    state = original_rtdetr(source.network)
    target, report = zoo.find("rtdetr-r50").build(names), None
    report = load_into(target, Stored("theirs.pth", "test", state), source_classes=names)
    assert (report.matched_share, report.missing, report.unexpected) == (1.0, [], [])
    assert weights_hash(target.network) == weights_hash(source.network)


def test_a_backbone_alone_in_the_authors_names(trained, tmp_path):
    """Their ImageNet ResNet-vd files hold ``conv1`` and ``res_layers`` with nothing before them."""
    state = {
        k.removeprefix("backbone."): v
        for k, v in original_rtdetr(trained.network).items()
        if k.startswith("backbone.")
    }
    torch.save(state, tmp_path / "resnet.pth")
    for name in (NANO, "conditional-detr-nano"):
        model, (report,) = zoo.make(
            name, ("a",), weights="random", backbone_from=str(tmp_path / "resnet.pth"), seed=3
        )
        assert report.matched_share == 1.0
        key = "model.backbone.model.encoder.stages.1.layers.0.shortcut.1.convolution.weight"
        assert torch.equal(model.network.state_dict()[key], trained.network.state_dict()[key])


def test_size_and_normalisation_come_from_the_image_processor(trained, tmp_path):
    folder = hf_folder(trained, tmp_path)
    processor = folder / "preprocessor_config.json"

    def read(**said):
        processor.write_text(json.dumps(said))
        model = zoo.load(folder)
        return model.image_size, model.mean.flatten().tolist(), model.std.flatten().tolist()

    side, mean, std = read(size={"height": 256, "width": 320}, do_normalize=True)
    assert side == 320
    assert mean == pytest.approx([0.485, 0.456, 0.406])
    assert std == pytest.approx([0.229, 0.224, 0.225])
    side, mean, std = read(size={"shortest_edge": 800, "longest_edge": 1333}, image_mean=[0.5] * 3)
    assert (side, mean, std) == (800, [0, 0, 0], [1, 1, 1])  # RT-DETR does not normalise unless it says so
    # a network fed with 0..255: ours are 0..1, so dividing by 1/255 gives it the same numbers
    _, mean, std = read(do_rescale=False)
    assert std == pytest.approx([1 / 255] * 3)
    processor.unlink()
    assert zoo.load(folder).image_size == 640


@pytest.mark.parametrize("case", [c for c in CASES if c.name in HF_CASES], ids=lambda case: case.name)
def test_every_transformers_family_comes_back_from_its_folder(case, tmp_path):
    names = ("can", "cup", "film")
    torch.manual_seed(2)
    model = case.build(names).eval()
    again = zoo.load(save_hf(model, tmp_path / "folder"))
    assert (again.family, again.class_names) == (model.family, names)
    assert weights_hash(again.network) == weights_hash(model.network)
    assert [f.name for f in again.features_spec] == [f.name for f in model.features_spec]
    images = torch.rand(1, 3, 128, 128)
    again.set_normalisation(model.mean.flatten().tolist(), model.std.flatten().tolist())
    with torch.no_grad():
        assert torch.equal(again(images).logits, model(images).logits)
