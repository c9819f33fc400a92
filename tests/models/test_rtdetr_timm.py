"""RT-DETR on timm backbones: names, normalisation, and pretrained weights that arrive where they belong."""

import re

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import ImageNetInfo, create_transform

from taco_kd.errors import MissingResourceError, UsageError
from taco_kd.models import rtdetr_timm, zoo
from taco_kd.models.timm_names import to_timm_names

NAMES = ("can", "cup", "film")
LITE0 = "tf_efficientnet_lite0"


def old_names(state):
    """A timm EfficientNet's weights as efficientnet_pytorch would have named them: the way back, by hand."""
    expanding = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
    expanding |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
    plain = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    outside["classifier"] = "_fc"
    first = {0: 0, 1: 1, 2: 3, 3: 5, 4: 8, 5: 11, 6: 15}
    renamed = {}
    for key, value in state.items():
        block = re.fullmatch(r"blocks\.(\d)\.(\d)\.(\w+)\.(\w+)", key)
        if block is None:
            part, rest = key.split(".")
            renamed[f"{outside[part]}.{rest}"] = value
        else:
            stage, index, part, rest = int(block[1]), int(block[2]), block[3], block[4]
            names = plain if stage == 0 else expanding
            renamed[f"_blocks.{first[stage] + index}.{names[part]}.{rest}"] = value
    return renamed


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(4)
    model = timm.create_model(LITE0).eval()
    with torch.no_grad():
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.add_(0.1 * torch.rand_like(buffer))
    return model


@pytest.mark.parametrize("named", ["timm", "efficientnet_pytorch"])
def test_a_classifiers_weights_become_the_backbone(classifier, named, tmp_path):
    state = classifier.state_dict()
    save_file(old_names(state) if named != "timm" else state, tmp_path / "b.safetensors")
    model, (report,) = zoo.make(
        "rtdetr-lite0-nano", NAMES, weights="random", backbone_from=str(tmp_path / "b.safetensors")
    )
    assert report.matched_share == 1.0
    assert report.missing == report.reshaped == []
    assert {key.split(".")[0] for key in report.unexpected} == (
        {"conv_head", "bn2", "classifier"} if named == "timm" else {"_conv_head", "_bn1", "_fc"}
    )
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        expected = classifier.forward_intermediates(
            model.normalised(images), indices=(2, 3, 4), intermediates_only=True
        )
        found = model.eval()(images, with_features=True).features
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours.tensor, theirs, atol=1e-5)


def test_weights_of_another_backbone_are_refused(tmp_path):
    save_file(timm.create_model("lcnet_035").state_dict(), tmp_path / "b.safetensors")
    with pytest.raises(MissingResourceError, match="of the backbone arrived"):
        zoo.make("rtdetr-lite0-nano", NAMES, weights="random", backbone_from=str(tmp_path / "b.safetensors"))


def test_it_is_smaller_than_r18_and_normalises_as_its_backbone_was_trained():
    with torch.device("meta"):
        r18 = zoo.find("rtdetr-r18").build(NAMES)
    lite0, nano = (zoo.find(name).build(NAMES) for name in ("rtdetr-lite0", "rtdetr-lite0-nano"))
    count = [sum(p.numel() for p in model.parameters()) for model in (nano, lite0, r18)]
    assert count == sorted(count)
    assert count[1] < 12_000_000
    assert lite0.mean.flatten().tolist() == lite0.std.flatten().tolist() == [0.5] * 3
    assert lite0.image_size == 640
    assert [(s.name, s.channels, s.stride) for s in lite0.features_spec] == [
        ("C3", 40, 8),
        ("C4", 112, 16),
        ("C5", 320, 32),
    ]


def test_the_activations_inside_timms_batch_norms_survive():
    # transformers' frozen batch norms would replace timm's BatchNormAct2d and drop its ReLU6
    model = zoo.find("rtdetr-lite0-nano").build(NAMES)
    kinds = {type(m).__name__ for m in model.backbone().modules()}
    assert "BatchNormAct2d" in kinds
    assert not any("Frozen" in kind for kind in kinds)


@pytest.mark.parametrize(
    ("name", "channels"), [("lcnet_035", (48, 88, 176)), ("convnext_atto", (80, 160, 320))]
)
def test_any_timm_backbone_by_name(name, channels, tmp_path):
    model, _ = zoo.make(f"rtdetr-timm-nano:{name}", NAMES, weights="random", seed=3)
    assert tuple(spec.channels for spec in model.features_spec) == channels
    with torch.no_grad():
        output = model.eval()(torch.rand(1, 3, 192, 192), with_features=True)
    assert [f.tensor.shape[-1] for f in output.features] == [24, 12, 6]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rtdetr-timm:mobilenet_v3_small", "timm has no model 'mobilenet_v3_small'; nearest: .*mobilenetv3"),
        ("rtdetr-timm:hf-hub:someone/model", "timm has no model"),
        ("rtdetr-timm:vit_tiny_patch16_224", "vit_tiny_patch16_224: not usable as a backbone at 640 px"),
        ("rtdetr-timm:", "timm has no model ''"),
        ("rtdetr-tim:resnet18", "choose one of .*rtdetr-timm:NAME"),
    ],
)
def test_names_that_are_no_backbone(name, says):
    with pytest.raises(UsageError, match=says) as raised:
        zoo.find(name)
    assert "\n" not in str(raised.value)


def test_a_file_cannot_send_timm_to_a_hub():
    model = zoo.find("rtdetr-lite0-nano").build(NAMES)
    architecture = dict(model.architecture())
    architecture["backbone_config"] = {**architecture["backbone_config"], "backbone": "hf-hub:someone/model"}
    with pytest.raises(UsageError, match="timm has no model 'hf-hub:someone/model'"):
        rtdetr_timm.rebuild(architecture, NAMES, model_name="x", image_size=192)


@pytest.mark.shared
def test_the_real_lite0_weights_see_what_is_in_real_photos(shared):
    """Bottles: with TensorFlow's padding and mean 0.5, and clearly less so with timm's other variant."""
    state = load_file(shared / "weights/efficientnet_lite0_imagenet.safetensors")
    info = ImageNetInfo("imagenet-1k")
    folders = [shared / "trashnet_sample/glass", shared / "trashnet_sample/plastic"]
    files = [file for folder in folders for file in sorted(folder.glob("*.jpg"))]
    probability = {}
    for name, mean, std in (
        (LITE0, (0.5,) * 3, (0.5,) * 3),
        ("efficientnet_lite0", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ):
        model = timm.create_model(name).eval()
        model.load_state_dict(_whole(state, model))
        transform = create_transform(
            (3, 224, 224), interpolation="bicubic", crop_pct=0.875, mean=mean, std=std
        )
        images = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
        with torch.no_grad():
            scores = model(images).softmax(-1)
        bottles = [i for i in range(1000) if re.search("bottle|jug|beaker", info.index_to_description(i))]
        probability[name] = scores[:, bottles].sum(-1)
    assert (probability[LITE0] > 0.1).float().mean() > 0.5
    assert probability[LITE0].mean() > 1.2 * probability["efficientnet_lite0"].mean()


def _whole(state, model):
    """The whole classifier: the head too."""
    head = {"_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    named = to_timm_names(state, model.state_dict())
    parts = {key: key.partition(".") for key in named}
    return {f"{head[p]}.{rest}" if p in head else k: named[k] for k, (p, _, rest) in parts.items()}
