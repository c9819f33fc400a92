"""DINOv3 teachers: every token in its place, every stage under its name, equal to the bare module."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from taco_kd.config import TeacherConfig
from taco_kd.errors import DataError, MissingResourceError, UsageError
from taco_kd.models import dinov3, dinov3_entries
from taco_kd.models.feature_zoo import FEATURE_MODELS, find_features, load_features, make_features
from taco_kd.models.settings import teacher
from taco_kd.models.weights import save_model, weights_hash

TINY_VIT = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_register_tokens": 4,
}
TINY_CONVNEXT = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1], "layer_scale_init_value": 0.5}


def tiny_vit(**changes):
    torch.manual_seed(0)
    return dinov3.rebuild_vit({**TINY_VIT, **changes}, model_name="dinov3-vit")


def tiny_convnext():
    torch.manual_seed(0)
    return dinov3.rebuild_convnext(TINY_CONVNEXT, model_name="dinov3-convnext")


BUILD = {"vit": tiny_vit, "convnext": tiny_convnext}


@pytest.fixture(params=BUILD)
def model(request):
    return BUILD[request.param]()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("dinov3-convnext-t", 27_820_128),
        ("dinov3-convnext-s", 49_454_688),
        ("dinov3-convnext-b", 87_566_464),
        ("dinov3-convnext-l", 196_230_336),
        ("dinov3-vit-s", 21_596_544),
        ("dinov3-vit-b", 85_660_416),
        ("dinov3-vit-l", 303_129_600),
    ],
)
def test_parameters_of_the_published_models(name, parameters):
    with torch.device("meta"):
        model = find_features(name).build()
    assert sum(p.numel() for p in model.network.parameters()) == parameters
    assert model.model_name == name
    assert all(not p.requires_grad for p in model.parameters())
    if "vit" in name:
        assert model.network.config.num_register_tokens == 4


def test_each_published_model_has_a_repository_a_licence_and_a_revision():
    for entry in FEATURE_MODELS.values():
        if entry.packaged is not None:
            continue
        assert entry.published.repo.startswith("facebook/dinov3-")
        assert "gated" in entry.published.licence
        assert entry.published.revision == "main" or len(entry.published.revision) == 40


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (70, 100), (33, 224)])
def test_maps_are_as_features_spec_says_at_any_size(model, size):
    maps = model(torch.rand(2, 3, *size))
    assert [m.name for m in maps] == [spec.name for spec in model.features_spec]
    cell = max(spec.stride for spec in model.features_spec)
    for found, spec in zip(maps, model.features_spec, strict=True):
        rows, columns = (-(-side // cell) * cell // spec.stride for side in size)
        assert found.tensor.shape == (2, spec.channels, rows, columns)
        assert found.stride == spec.stride


def test_the_same_image_gives_the_same_maps_whatever_mode_was_asked_for(model):
    images = torch.rand(1, 3, 64, 96)
    first = model(images)
    again = model.train()(images)  # in training mode the ViT would draw a scale for its positions
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(a.tensor, b.tensor) for a, b in zip(first, again, strict=True))


def test_no_gradient_reaches_the_teacher_or_flows_through_it(model):
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    assert all(not found.tensor.requires_grad for found in model(images))
    assert all(not p.requires_grad for p in model.parameters())


def test_the_model_normalises_its_own_input(model):
    images = torch.rand(1, 3, 64, 64)
    plain = model(images)
    model.set_normalisation([0.0] * 3, [1.0] * 3)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (dinov3.IMAGENET_MEAN, dinov3.IMAGENET_STD))
    by_hand = model((images - mean) / std)
    for a, b in zip(plain, by_hand, strict=True):
        assert torch.allclose(a.tensor, b.tensor, atol=1e-5)


def test_vit_equals_the_bare_module():
    model = tiny_vit()
    images = torch.rand(2, 3, 48, 80)
    with torch.no_grad():
        bare = model.network(pixel_values=model.normalised(images)).last_hidden_state
    (found,) = model(images)
    assert bare.shape == (2, 1 + 4 + 3 * 5, 48)
    for row in range(3):
        for column in range(5):
            token = bare[:, 5 + row * 5 + column]
            assert torch.allclose(found.tensor[:, :, row, column], token, atol=1e-5)


def test_vit_hands_out_the_blocks_it_is_asked_for():
    model = tiny_vit(out_indices=[1, 3])
    assert [spec.name for spec in model.features_spec] == ["block1", "block3"]
    images = torch.rand(1, 3, 32, 48)
    early, late = model(images)
    (last,) = tiny_vit()(images)
    assert torch.equal(late.tensor, last.tensor)
    assert not torch.allclose(early.tensor, late.tensor)
    with torch.device("meta"):
        assert [spec.name for spec in dinov3_entries.build_vit("s", (4, 12)).features_spec] == [
            "block4",
            "block12",
        ]
    assert model.architecture()["out_indices"] == [1, 3]


def test_convnext_equals_the_bare_module():
    model = tiny_convnext()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        bare = model.network(pixel_values=model.normalised(images), output_hidden_states=True)
        image, *stages = bare.hidden_states
    assert image.shape == (2, 3, 64, 96)
    for found, stage in zip(model(images), stages, strict=True):
        assert torch.allclose(found.tensor, stage, atol=1e-5)


def scrambled(model, images):
    """The paper's released code: the token list with its registers, resized to a grid as if it were a line.

    Tokens [B, 1 + 4 + h*w, K] without the CLS token, interpolated in one dimension to h*w, then reshaped.
    """
    rows, columns = (side // 16 for side in images.shape[-2:])
    with torch.no_grad():
        tokens = model.network(pixel_values=model.normalised(images)).last_hidden_state[:, 1:]
    line = torch.nn.functional.interpolate(tokens.transpose(1, 2), size=rows * columns, mode="linear")
    return line.unflatten(2, (rows, columns))


def places_of_largest_change(features, rows=4, columns=6):
    """For each place of a grid: paint its patch, and see where the features change most."""
    torch.manual_seed(1)
    plain = 0.5 + 0.02 * torch.randn(1, 3, rows * 16, columns * 16)
    before, hits = features(plain), {}
    for row in range(rows):
        for column in range(columns):
            painted = plain.clone()
            painted[..., row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = torch.rand(3, 16, 16)
            change = (features(painted) - before).norm(dim=1)[0]
            hits[row, column] = divmod(int(change.argmax()), columns)
    return hits


def test_a_painted_patch_changes_the_vit_map_most_at_its_own_place():
    model = tiny_vit()
    ours = places_of_largest_change(lambda images: model(images)[0].tensor)
    assert all(found == place for place, found in ours.items())
    theirs = places_of_largest_change(lambda images: scrambled(model, images))
    assert sum(found == place for place, found in theirs.items()) < len(theirs) / 2


def test_a_painted_patch_changes_the_convnext_map_most_at_its_own_place():
    model = tiny_convnext()
    ours = places_of_largest_change(lambda images: model(images)[2].tensor, rows=4, columns=6)
    assert sum(found == place for place, found in ours.items()) >= 22


def test_tokens_as_released_are_scrambled_as_the_paper_s_code_does_it(tmp_path):
    model = tiny_vit()
    images = torch.rand(2, 3, 64, 96)
    (plain,) = model(images)
    model.tokens = "as-released"
    (found,) = model(images)
    assert found.tensor.shape == plain.tensor.shape
    assert torch.allclose(found.tensor, scrambled(model, images), atol=1e-6)
    assert not torch.allclose(found.tensor, plain.tensor, atol=0.1)
    hits = places_of_largest_change(lambda images: model(images)[0].tensor)
    assert sum(found == place for place, found in hits.items()) < len(hits) / 2
    save_model(tmp_path / "t.safetensors", model)
    assert load_features(tmp_path / "t.safetensors")[0].tokens == "as-released"
    assert "tokens" not in tiny_vit().architecture()


def test_tokens_are_a_setting_of_a_vit_alone(tmp_path):
    for build in (tiny_vit, tiny_convnext):
        save_model(tmp_path / f"{build.__name__}.safetensors", build())
    wanted = {"tokens": "as-released"}
    vit = str(tmp_path / "tiny_vit.safetensors")
    model, _ = teacher(TeacherConfig(model="dinov3-vit", weights=vit, **wanted))
    assert model.tokens == "as-released"
    convnext = str(tmp_path / "tiny_convnext.safetensors")
    with pytest.raises(UsageError, match="setting of a DINOv3 ViT, not of dinov3-convnext"):
        teacher(TeacherConfig(model="dinov3-convnext", weights=convnext, **wanted))
    with pytest.raises(UsageError, match="setting of a DINOv3 ViT, not of conditional-detr-nano"):
        teacher(TeacherConfig(**wanted))


def test_exchanging_two_patches_changes_the_vit_map_at_both_places():
    model = tiny_vit()
    image = torch.rand(1, 3, 3, 5).repeat_interleave(16, 2).repeat_interleave(16, 3)
    exchanged = image.clone()
    exchanged[..., :16, :16], exchanged[..., 32:, 64:] = image[..., 32:, 64:], image[..., :16, :16]
    change = (model(image)[0].tensor - model(exchanged)[0].tensor).norm(dim=1)[0].flatten()
    assert set(change.topk(2).indices.tolist()) == {0, 14}


@pytest.fixture(params=BUILD)
def folder(request, tmp_path):
    """A folder as published: written by transformers, keys without the inner ``model.``."""
    model = BUILD[request.param]()
    model.network.save_pretrained(tmp_path / "dino")
    return model, tmp_path / "dino"


def test_a_hugging_face_folder_arrives_whole(folder):
    model, path = folder
    keys = load_file(path / "model.safetensors")
    assert not any(key.startswith("model.") for key in keys)
    found, report = load_features(path)
    assert report.matched_share == 1.0
    assert report.missing == report.unexpected == report.reshaped == []
    assert weights_hash(found.network) == weights_hash(model.network)
    images = torch.rand(1, 3, 64, 64)
    for a, b in zip(found(images), model(images), strict=True):
        assert torch.equal(a.tensor, b.tensor)
    assert found.model_name == found.family  # a size that nobody published


def test_our_own_file_arrives_whole(model, tmp_path):
    save_model(tmp_path / "teacher.safetensors", model)
    found, report = load_features(tmp_path / "teacher.safetensors")
    assert type(found) is type(model)
    assert report.matched_share == 1.0
    assert found.metadata() == model.metadata()
    images = torch.rand(1, 3, 64, 64)
    for a, b in zip(found(images), model(images), strict=True):
        assert torch.equal(a.tensor, b.tensor)


def test_chosen_blocks_travel_with_the_file(tmp_path):
    save_model(tmp_path / "t.safetensors", tiny_vit(out_indices=[1, 2]))
    found, _ = load_features(tmp_path / "t.safetensors")
    assert [spec.name for spec in found.features_spec] == ["block1", "block2"]


def test_weights_that_do_not_arrive_are_refused(folder):
    _, path = folder
    state = load_file(path / "model.safetensors")
    save_file({f"module.{key}": value for key, value in state.items()}, path / "model.safetensors")
    with pytest.raises(
        MissingResourceError, match=r"0 keys matched .*: less than 90 % of the values arrived"
    ):
        load_features(path)


def test_random_weights_follow_the_seed():
    first, _ = make_features("dinov3-vit-s", weights="random", seed=1)
    again, _ = make_features("dinov3-vit-s", weights="random", seed=1)
    assert weights_hash(first.network) == weights_hash(again.network)


def test_published_weights_that_are_not_here_are_named_with_their_licence():
    with pytest.raises(MissingResourceError) as raised:
        make_features("dinov3-vit-b", weights="published")
    message = str(raised.value)
    assert "facebook/dinov3-vitb16-pretrain-lvd1689m" in message
    assert "gated" in message
    assert "\n" not in message


def test_bad_names_folders_and_files(folder, tmp_path):
    _, path = folder
    with pytest.raises(
        UsageError, match="unknown feature teacher 'dinov3-vit-xl': choose one of dinov3-conv"
    ):
        make_features("dinov3-vit-xl", weights="random")
    with pytest.raises(UsageError, match="not a dinov3-vit-s"):
        make_features("dinov3-vit-s", weights=str(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no weights: not .* \(no config\.json\)"):
        load_features(tmp_path / "empty")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "model_type": "dinov2"}))
    with pytest.raises(UsageError, match="unknown model type 'dinov2'"):
        load_features(path)
    (path / "config.json").write_text(json.dumps({**config, "hidden_sizes": "x", "hidden_size": "x"}))
    with pytest.raises(DataError, match="not usable by transformers"):
        load_features(path)
    nonsense = {"hidden_sizes": [0, 0, 0, 0], "num_attention_heads": 0}
    (path / "config.json").write_text(json.dumps({**config, **nonsense}))
    with pytest.raises(DataError, match="its configuration builds no dinov3"):
        load_features(path)
    (path / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json"):
        load_features(path)
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="holds no feature teacher"):
        load_features(tmp_path / "x.safetensors")
