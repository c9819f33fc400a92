"""Weights that provably arrive: round trips, load reports, refusals."""

import pytest
import torch
from safetensors.torch import save_file

from taco_kd.classes.spaces import space
from taco_kd.errors import DataError, MissingResourceError, UsageError
from taco_kd.models import conditional_detr, rtdetr, zoo
from taco_kd.models.loading import load_into
from taco_kd.models.stored import Stored
from taco_kd.models.weight_files import read_safetensors
from taco_kd.models.weights import save_model, weights_hash

NAMES = ("can", "cup", "film")


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(3)
    return rtdetr.build_nano(NAMES)


@pytest.fixture
def file(trained, tmp_path):
    save_model(tmp_path / "model.safetensors", trained)
    return tmp_path / "model.safetensors"


def test_round_trip_gives_equal_outputs(trained, file):
    again = zoo.load(file, expected_model="rtdetr-nano")
    assert again.class_names == NAMES
    assert weights_hash(again.network) == weights_hash(trained.network)
    images = torch.rand(1, 3, 192, 192)
    with torch.no_grad():
        assert torch.equal(again(images).logits, trained.eval()(images).logits)


def test_normalisation_travels_with_the_weights(tmp_path):
    model = conditional_detr.build_nano(NAMES)
    model.set_normalisation([0.4] * 3, [1.0] * 3)
    save_model(tmp_path / "m.safetensors", model)
    assert zoo.load(tmp_path / "m.safetensors").mean.flatten().tolist() == pytest.approx([0.4] * 3)


def test_other_classes_are_copied_by_name(trained, file):
    model, (report,) = zoo.make("rtdetr-nano", ("film", "shoe", "can"), weights=str(file), seed=5)
    fresh, _ = zoo.make("rtdetr-nano", ("film", "shoe", "can"), weights="random", seed=5)
    for key in ("model.enc_score_head.weight", "class_embed.0.bias", "model.decoder.class_embed.2.weight"):
        own = dict(model.network.state_dict())
        if key not in own:
            continue
        source, start = trained.network.state_dict()[key], fresh.network.state_dict()[key]
        assert torch.equal(own[key][0], source[2])  # film
        assert torch.equal(own[key][2], source[0])  # can
        assert torch.equal(own[key][1], start[1])  # shoe: as it was drawn
    assert report.rows_by_name == ["film", "can"]
    assert report.by_class
    assert report.matched_share == 1.0


def test_a_load_in_which_nothing_arrives_is_an_error(trained):
    # the paper's released checkpoints: saved under other names, loaded 0 of 744 keys without a word
    renamed = Stored(
        "stage1.safetensors", "test", {f"x.{k}": v for k, v in trained.network.state_dict().items()}
    )
    model = rtdetr.build_nano(NAMES)
    before = weights_hash(model.network)
    with pytest.raises(MissingResourceError, match=r"0 keys matched of 443 \(0 % of the values\)"):
        load_into(model, renamed, source_classes=NAMES)
    assert weights_hash(model.network) == before
    report = load_into(model, renamed, source_classes=NAMES, allow_partial=True)
    assert report.matched == []
    assert len(report.unexpected) == sum("num_batches" not in key for key in renamed.state)
    assert len(report.missing) == report.keys == 443


def test_less_than_ninety_percent_is_an_error_and_allowed_only_when_asked(trained):
    state = {k: v for k, v in trained.network.state_dict().items() if "backbone" not in k}
    model = rtdetr.build_nano(NAMES)
    with pytest.raises(MissingResourceError, match=r"less than 90 % of the values arrived.*--allow-partial"):
        load_into(model, Stored("half", "test", state, NAMES))
    report = load_into(model, Stored("half", "test", state, NAMES), allow_partial=True)
    assert 0.5 < report.matched_share < 0.9
    assert all("backbone" in key for key in report.missing)
    assert any("--allow-partial" in remark for remark in report.remarks)


def test_a_tied_weight_counts_once_whichever_of_its_names_the_file_holds(trained):
    full = trained.network.state_dict()
    for drop in ("bbox_embed.", "model.decoder.bbox_embed."):
        model = rtdetr.build_nano(NAMES)
        state = {k: v for k, v in full.items() if not k.startswith(drop)}
        report = load_into(model, Stored("tied", "test", state, NAMES))
        assert (report.matched_share, report.missing, report.unexpected) == (1.0, [], [])
        assert weights_hash(model.network) == weights_hash(trained.network)


def test_weights_that_do_not_name_their_classes_leave_the_head_at_random(trained):
    model = rtdetr.build_nano(("film", "shoe", "can"))
    start = model.network.class_embed[0].weight.clone()
    unnamed = Stored("theirs.pth", "test", trained.network.state_dict())
    report = load_into(model, unnamed)
    assert report.matched_share == 1.0
    assert torch.equal(model.network.class_embed[0].weight, start)
    assert report.rows_at_random == ["film", "shoe", "can"]
    assert "--weights-classes" in report.line()
    report = load_into(model, unnamed, source_classes=NAMES)
    assert torch.equal(model.network.class_embed[0].weight[0], trained.network.class_embed[0].weight[2])
    assert (report.rows_by_name, report.rows_at_random) == (["film", "can"], ["shoe"])
    assert "2 classes copied (film, can), 1 at random (shoe)" in report.line()
    with pytest.raises(UsageError, match=r"its head has 3 or 4 rows, and 80 classes were named for it"):
        load_into(model, unnamed, source_classes=space("coco-80"))


def test_backbone_moves_from_student_to_teacher(trained, file):
    teacher, (report,) = zoo.make("conditional-detr-nano", NAMES, weights="random", backbone_from=str(file))
    assert report.matched_share == 1.0
    own, source = teacher.network.state_dict(), trained.network.state_dict()
    assert all(torch.equal(own[k], source[k]) for k in report.matched)
    assert len(report.matched) > 20


def test_backbone_of_another_architecture_is_refused(tmp_path):
    save_file({"model.backbone.other": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(MissingResourceError, match="of the backbone arrived"):
        zoo.make("rtdetr-nano", NAMES, weights="random", backbone_from=str(tmp_path / "x.safetensors"))


def test_random_weights_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.rand(1)
    torch.manual_seed(0)
    first, _ = zoo.make("rtdetr-nano", NAMES, weights="random", seed=1)
    assert torch.equal(torch.rand(1), before)
    again, _ = zoo.make("rtdetr-nano", NAMES, weights="random", seed=1)
    other, _ = zoo.make("rtdetr-nano", NAMES, weights="random", seed=2)
    assert weights_hash(first.network) == weights_hash(again.network) != weights_hash(other.network)


def test_half_precision_files_are_read_as_float32(trained, tmp_path):
    save_model(tmp_path / "h.safetensors", trained, half=True)
    state, _ = read_safetensors(tmp_path / "h.safetensors")
    assert all(v.dtype != torch.float16 for v in state.values())
    assert zoo.load(tmp_path / "h.safetensors").network.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "content", "error", "says"),
    [
        ("none.safetensors", None, MissingResourceError, "no such weights file"),
        ("broken.safetensors", b"not a safetensors file", DataError, "not a readable safetensors file"),
    ],
)
def test_bad_files(tmp_path, name, content, error, says):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=says) as raised:
        read_safetensors(path)
    assert str(path) in str(raised.value)


def test_a_file_of_somebody_else_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match="does not name its classes"):
        zoo.load(tmp_path / "x.safetensors")


def test_unknown_model_and_missing_packaged_weights():
    with pytest.raises(UsageError, match=r"unknown model 'rtdetr-xl': choose one of rtdetr-nano"):
        zoo.find("rtdetr-xl")
    with pytest.raises(UsageError, match="rtdetr-r50 has no packaged weights"):
        zoo.packaged_file(zoo.find("rtdetr-r50"))
