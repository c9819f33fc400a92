"""A distillation run: the same with and without a cache, one forward a step, gated and checked."""

import json

import pytest
import torch

from taco_kd.config import load_recipe
from taco_kd.data.dataset import DetectionDataset
from taco_kd.distill.distiller import Distiller
from taco_kd.errors import GateError, UsageError
from taco_kd.models import conditional_detr, rtdetr, yolo
from taco_kd.models.weight_files import read_safetensors
from taco_kd.models.weights import save_model
from taco_kd.train import stage
from taco_kd.train.build import build
from taco_kd.train.caching import folder_of, open_caches
from taco_kd.train.loop import steps
from taco_kd.train.stage import train

QUICK = ["train.steps=4", "train.batch_size=4", "train.warmup_steps=1", "distill.min_teacher_score=0"]
PREDICTIONS = ["distill.features=off", "distill.attention=off", "distill.gate=off"]


@pytest.fixture(scope="module")
def files(tmp_path_factory, small_data):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_model(folder / "student.safetensors", rtdetr.build_nano(small_data.class_names))
    save_model(folder / "teacher.safetensors", conditional_detr.build_nano(small_data.class_names))
    return [
        f"student.weights={folder}/student.safetensors",
        f"teacher.weights={folder}/teacher.safetensors",
        *QUICK,
    ]


@pytest.fixture(scope="module")
def recipe(files):
    def make(*changes, name="nano-paper"):
        return load_recipe(name, [*files, *PREDICTIONS, *changes])

    return make


@pytest.fixture(scope="module")
def without(recipe, small_data, tmp_path_factory):
    return train(recipe(), small_data, tmp_path_factory.mktemp("without") / "run")


def tensors(run):
    return read_safetensors(run.model_file)[0]


def alike(one, other, *, rel):
    for a, b in zip(one.log(), other.log(), strict=True):
        assert a["raw"] == pytest.approx(b["raw"], rel=rel)
        assert a["loss"] == pytest.approx(b["loss"], rel=rel)
    ours, theirs = tensors(one), tensors(other)
    assert all(torch.allclose(ours[k], theirs[k], atol=1e-3) for k in ours)


def test_with_and_without_the_cache_agree_within_rounding(without, recipe, small_data, tmp_path):
    kept = recipe(f"distill.cache={tmp_path}/cache")
    cold = train(kept, small_data, tmp_path / "cold")
    alike(cold, without, rel=1e-3)
    (said,) = cold.record()["teacher_caches"]
    assert said["misses"] > 0
    assert said["hits"] + said["misses"] == 16
    warm = train(kept, small_data, tmp_path / "warm")
    alike(warm, without, rel=1e-3)
    (said,) = warm.record()["teacher_caches"]
    assert (said["hits"], said["misses"], said["damaged"]) == (16, 0, 0)
    ours, theirs = tensors(warm), tensors(cold)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)  # float32: the very numbers that were computed
    assert without.record()["teacher_caches"] == [None]


def test_maps_are_kept_where_that_is_asked_for(recipe, small_data, tmp_path, capsys):
    changes = ["distill.features=mse", "train.horizontal_flip=0", f"distill.cache={tmp_path}/cache"]
    online = train(recipe(*changes), small_data, tmp_path / "online")
    said = capsys.readouterr().err.replace("\n", " ")
    assert "teacher cache not used: the losses need features of conditional-detr-nano" in said
    assert online.record()["teacher_caches"] == [None]
    cached = train(recipe(*changes, "distill.cache_features=true"), small_data, tmp_path / "cached")
    assert "Teacher cache" in capsys.readouterr().err
    alike(cached, online, rel=1e-3)
    (said,) = cached.record()["teacher_caches"]
    assert said["stored"] == ["predictions", "features"]


class StopError(Exception):
    pass


def test_a_killed_run_goes_on_with_its_cache(without, recipe, small_data, tmp_path):
    kept = recipe(f"distill.cache={tmp_path}/cache", "train.checkpoint_seconds=1e-6")

    def stop(done, total, note=""):
        if done == 3:
            raise StopError

    with pytest.raises(StopError):
        train(kept, small_data, tmp_path / "cut", on_progress=stop)
    resumed = train(kept, small_data, tmp_path / "cut")
    alike(resumed, without, rel=1e-3)
    assert resumed.record()["selfcheck"]["teacher_unchanged"] is True


def _counted(model):
    seen = {"network": 0, "backbone": 0}
    hooks = {"network": model.network, "backbone": model.backbone()}
    for name, module in hooks.items():
        module.register_forward_hook(lambda *_, name=name: seen.update({name: seen[name] + 1}))
    return seen


@pytest.mark.parametrize("name", ["nano-paper", "nano-paper-code", "nano-matched"])
def test_one_forward_each_a_step_and_none_of_a_cached_teacher(files, small_data, tmp_path, name):
    # all terms on, maps too: they are taken on the way of the one forward
    cache = [f"distill.cache={tmp_path}/c", "distill.cache_features=true", "train.horizontal_flip=0"]
    recipe = load_recipe(name, [*files, *cache]).model_copy(update={"pretrain": None})
    device = torch.device("cpu")
    dataset, state, _ = build(recipe, small_data, device)
    (lesson,) = state.distiller.each()
    student, teacher = _counted(state.student), _counted(lesson.teacher)
    expected = {"network": 0, "backbone": 0}
    work = steps(state, dataset, recipe.train, steps_total=100, device=device)
    for _ in range(3):
        next(work)
        expected = {name: count + 1 for name, count in expected.items()}
        assert student == teacher == expected
    open_caches(state.distiller, small_data, dataset, recipe.train, steps_total=100, device=device)
    for position in range(len(dataset)):
        batch = dataset.batch([position])
        state.distiller.caches[0].output(batch, batch.images.float() / 255)
    teacher.update(network=0, backbone=0)
    for _ in range(2):
        next(work)
    assert teacher == {"network": 0, "backbone": 0}
    assert student == {"network": 5, "backbone": 5}


def test_the_gate_changes_nothing_of_the_run(without, recipe, small_data, tmp_path):
    gated = train(recipe("distill.gate=warn"), small_data, tmp_path / "run")
    (answer,) = gated.record()["gate"]
    assert answer["outcome"] == "not distinguishable"  # two random models
    assert without.record()["gate"] == []
    ours, theirs = tensors(gated), tensors(without)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_strict_gate_trains_nothing_and_leaves_out_as_it_was(recipe, small_data, tmp_path):
    with pytest.raises(GateError, match="is not distinguishable from the student as it starts"):
        train(recipe("distill.gate=strict"), small_data, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    before = train(recipe("train.steps=1"), small_data, tmp_path / "old")
    kept = {file: file.read_bytes() for file in before.path.rglob("*") if file.is_file()}
    with pytest.raises(GateError):
        train(recipe("distill.gate=strict"), small_data, tmp_path / "old", overwrite=True)
    assert {file: file.read_bytes() for file in before.path.rglob("*") if file.is_file()} == kept


def test_every_run_is_checked(without):
    said = without.record()["selfcheck"]
    assert said["teacher_eval"] is said["teacher_frozen"] is said["teacher_unchanged"] is True
    assert said["teacher_outputs_without_gradient"] == 4
    assert said["first_step_not_zero"] == {"kd_classes": 1, "kd_boxes": 1}


def test_projections_are_counted(recipe, small_data, tmp_path):
    run = train(recipe("distill.features=mse", "train.steps=1"), small_data, tmp_path / "run")
    assert run.record()["selfcheck"]["projections_in_optimizer"] > 0


def test_a_teacher_that_says_nothing_is_told(recipe, small_data, tmp_path, capsys):
    silent = recipe("distill.min_teacher_score=1.0", "distill.pairing=hungarian", "train.steps=2")
    run = train(silent, small_data, tmp_path / "run")
    assert run.record()["selfcheck"]["first_step_not_zero"] == {"kd_classes": None, "kd_boxes": None}
    said = capsys.readouterr().err.replace("\n", " ")
    assert "no teacher query reaches distill.min_teacher_score=1 in a shared class" in said


def test_a_disk_without_room_leaves_out_as_it_was(recipe, small_data, tmp_path, monkeypatch):
    import shutil

    from taco_kd.errors import MissingResourceError

    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=5000))
    with pytest.raises(MissingResourceError, match="the disk has 5 kB free"):
        train(recipe(f"distill.cache={tmp_path}/cache"), small_data, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_replay_is_refused_where_places_would_be_mixed_up(recipe, small_data, tmp_path):
    changes = [f"distill.cache={tmp_path}/c", "distill.cache_mode=replay", "distill.pairing=index"]
    config = recipe(*changes)
    build_yolo = next(entry.build for entry in yolo.ENTRIES if entry.name == "yolo11-nano")
    student, teacher = (build_yolo(small_data.class_names) for _ in range(2))
    distiller = Distiller(config.lessons(), student, [teacher])
    dataset = DetectionDataset(small_data, "train", student.image_size)
    with pytest.raises(UsageError, match="its places have another order"):
        open_caches(distiller, small_data, dataset, config.train, steps_total=9, device=torch.device("cpu"))


def test_where_the_cache_is(small_data):
    assert folder_of("off", small_data) is None
    assert folder_of("auto", small_data) == small_data.path.parent / "small.teacher-cache"
    assert str(folder_of("some/where", small_data)) == "some/where"


def test_the_two_stages_keep_what_the_first_found(files, small_data, tmp_path):
    recipe = load_recipe("nano-paper-code", [*files, "pretrain.steps=1", "pretrain.batch_size=2"])
    run = train(recipe, small_data, tmp_path / "run")
    record = run.record()
    assert record["gate"][0]["outcome"] == "not distinguishable"
    assert record["selfcheck"]["teacher_unchanged"] is True
    assert record["teacher_caches"] == [None]
    json.dumps(record)
    assert stage.PRETRAIN == "pretrain"
