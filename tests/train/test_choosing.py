"""Choices on images put aside: nothing leaks, nothing is disturbed, nothing is lost by a kill."""

import dataclasses
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from taco_kd.config import load_recipe
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.mixture import mixed_with_pseudo
from taco_kd.data.part import part_of, put_aside
from taco_kd.errors import DataError, InterruptedRunError, UsageError
from taco_kd.evaluate.coco_metrics import evaluate_coco
from taco_kd.evaluate.predict import predict
from taco_kd.evaluate.stage import evaluate
from taco_kd.files import read_json, write_json
from taco_kd.models import rtdetr, zoo
from taco_kd.models.weight_files import read_safetensors
from taco_kd.models.weights import save_model, weights_hash
from taco_kd.runs import DataDir, RunDir
from taco_kd.train import evaluations, look
from taco_kd.train.choosing import Chooser
from taco_kd.train.stage import train
from taco_kd.train.undisturbed import undisturbed

SMALL = [
    *("train.steps=6", "train.batch_size=2", "train.warmup_steps=1", "train.lr=1e-3"),
    "student.image_size=96",
]
ASIDE = ["train.hold_out=0.25", "train.evaluate_every=2"]


class StopError(Exception):
    pass


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    from taco_kd.models.zoo import find, packaged_file

    return packaged_file(find("rtdetr-nano"))


@pytest.fixture(scope="module")
def recipe_of(weights):
    return lambda *more: load_recipe("nano-baseline", [*SMALL, *more])


def tensors(run):
    return read_safetensors(run.model_file)[0]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def ids(data):
    return {image["id"] for image in data.coco("train")["images"]}


def test_the_parts_are_a_partition_and_the_same_each_time(small_data):
    stay, aside = put_aside(small_data, 0.25, 3)
    assert ids(stay) | ids(aside) == ids(small_data)
    assert not ids(stay) & ids(aside)
    assert len(ids(aside)) == round(0.25 * len(ids(small_data)))
    assert ids(put_aside(small_data, 0.25, 3)[1]) == ids(aside)
    assert any(ids(put_aside(small_data, 0.25, seed)[1]) != ids(aside) for seed in range(4, 8))
    assert {a["image_id"] for a in stay.coco("train")["annotations"]} <= ids(stay)
    assert stay.coco("val") == small_data.coco("val")
    assert stay.content_hash == small_data.content_hash


def test_images_that_belong_together_stay_together(small_data, tmp_path):
    folder = tmp_path / "grouped"
    shutil.copytree(small_data.path, folder)
    data = DataDir(folder)
    coco = data.coco("train")
    for place, image in enumerate(coco["images"]):
        image["group"] = place // 4
    write_json(data.annotations_file("train"), coco)
    for seed in range(5):
        stay, aside = put_aside(data, 0.25, seed)
        groups = [{i["group"] for i in part.coco("train")["images"]} for part in (stay, aside)]
        assert not groups[0] & groups[1]
        assert groups[1]
    one = {**coco, "images": [{**image, "group": 0} for image in coco["images"]]}
    write_json(data.annotations_file("train"), one)
    with pytest.raises(UsageError, match=r"in 1 groups that stay together leaves nothing to"):
        put_aside(data, 0.25, 0)


def test_a_share_that_is_no_image_is_refused(small_data):
    with pytest.raises(UsageError, match=r"hold_out = 0.001 of \d+ training images leaves nothing to eval"):
        put_aside(small_data, 0.001, 0)


@pytest.mark.parametrize(
    "more",
    [
        [],
        [
            *("train.augment.mosaic=1.0", "train.augment.copy_paste=1.0", "train.sampling=class-balanced"),
            "train.augment.multi_scale=[64, 96]",
        ],
    ],
)
def test_images_put_aside_are_never_trained_on(more, recipe_of, small_data, tmp_path, monkeypatch):
    recipe = recipe_of(*ASIDE, "train.steps=16", "train.evaluate_every=8", "train.workers=0", *more)
    _, aside = put_aside(small_data, 0.25, 0)
    decoded, trained, looked_at = DetectionDataset.image, set(), set()

    def image(self, position):
        (looked_at if inside else trained).add(self.images[position]["id"])
        return decoded(self, position)

    inside = []

    def looked(model, *args, **kwargs):
        inside.append(True)
        rows = predict(model, *args, **kwargs)
        inside.pop()
        return rows

    monkeypatch.setattr(DetectionDataset, "image", image)
    monkeypatch.setattr(look, "predict", looked)
    run = train(recipe, small_data, tmp_path / "run")
    assert trained == ids(small_data) - ids(aside)
    assert looked_at == ids(aside)
    record = run.record()
    assert record["evaluations"]["images"] == len(ids(aside))
    assert record["chosen_on"] is None  # watched, but nothing depended on it
    assert not record["stopped_early"]


def test_an_image_that_is_gone_is_left_out_of_the_evaluations(recipe_of, small_data, tmp_path, capsys):
    data = DataDir(Path(shutil.copytree(small_data.path, tmp_path / "data")))
    _, aside = put_aside(data, 0.25, 0)
    gone = data.image_file("train", aside.coco("train")["images"][0]["file_name"])

    def lose(done, total, note=""):
        if done == 1:
            gone.write_bytes(gone.read_bytes()[:100])

    run = train(recipe_of(*ASIDE), data, tmp_path / "run", on_progress=lose)
    assert {e["images"] for e in run.evaluations()} == {len(aside.image_ids) - 1}
    said = capsys.readouterr().err
    assert said.count("left out of the evaluations during this run") == 1
    assert gone.name in said


def test_pseudo_labelled_copies_of_images_put_aside_are_left_out(small_data, tmp_path):
    from taco_kd.data.overlap import print_of

    folder = tmp_path / "pseudo"
    shutil.copytree(small_data.path, folder)
    pseudo = DataDir(folder)
    record = {**pseudo.record(), "kind": "pseudo", "validation": {"content_hash": small_data.content_hash}}
    write_json(pseudo.record_file, record)
    names = [image["file_name"] for image in pseudo.coco("train")["images"]]
    prints = {name: print_of(pseudo.image_file("train", name)).record() for name in names}
    write_json(folder / "prints.json", prints)
    stay, aside = put_aside(small_data, 0.25, 0)
    labelled = DetectionDataset(stay, "train", 192)
    mixed, _ = mixed_with_pseudo(labelled, folder, 0.5, aside)
    assert {abs(t.image_id + (t.image_id < 0)) for t in mixed.targets} == ids(stay)
    assert len(mixed) == 2 * len(ids(stay))


def test_evaluating_changes_nothing(recipe_of, small_data, tmp_path):
    looked = train(recipe_of(*ASIDE), small_data, tmp_path / "looked")
    blind = train(recipe_of("train.hold_out=0.25", "train.evaluate_every=never"), small_data, tmp_path / "b")
    assert len(list(looked.evaluations())) == 3
    assert not list(blind.evaluations())
    assert equal(tensors(looked), tensors(blind))
    assert [line["loss"] for line in looked.log()] == [line["loss"] for line in blind.log()]


@pytest.mark.parametrize(
    "model", ["yolo11-nano", pytest.param("rtdetr-hgnetv2-nano", marks=pytest.mark.slow)]
)
def test_evaluating_changes_nothing_in_models_that_keep_caches(model, small_data, tmp_path):
    more = ["student.weights=random", f"student.model={model}", "train.steps=4"]
    found = [
        train(load_recipe("nano-baseline", [*SMALL, *more, *choice]), small_data, tmp_path / str(place))
        for place, choice in enumerate((ASIDE, ["train.hold_out=0.25", "train.evaluate_every=never"]))
    ]
    assert equal(*map(tensors, found))


def test_undisturbed_puts_modes_and_generators_back():
    import random

    import numpy as np

    model = rtdetr.build_nano(("a", "b")).train()
    frozen = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)).eval()
    modes = [m.training for m in model.modules()]
    numbers = []
    for disturbed in (False, True):
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        if disturbed:
            with undisturbed(model):
                assert not any(m.training for m in model.modules())
                assert not torch.is_grad_enabled()
                torch.rand(3), random.random(), np.random.rand()
        numbers.append((torch.rand(1).item(), random.random(), np.random.rand()))
    assert numbers[0] == numbers[1]
    assert [m.training for m in model.modules()] == modes
    assert not frozen.training


@pytest.fixture
def falling(monkeypatch):
    """AP as it is measured, but each evaluation after the first finds a tenth of a point less than it."""
    found = []

    def measured(truth, rows):
        metrics = evaluate_coco(truth, rows)
        found.append(metrics.ap)
        return dataclasses.replace(metrics, ap=found[0] - 0.001 * (len(found) - 1))

    monkeypatch.setattr(look, "evaluate_coco", measured)
    return found


def test_the_best_weights_are_delivered(recipe_of, small_data, tmp_path, falling):
    recipe = recipe_of(*ASIDE, "train.keep=best", "train.schedule=flat")
    run = train(recipe, small_data, tmp_path / "run")
    record, found = run.record(), evaluations.read(run)
    best = evaluations.best_of(found)
    assert [each.step for each in found] == [2, 4, 6]
    assert best.step == 2
    assert record["chosen_on"] == "hold-out"
    assert record["delivered_step"] == record["evaluations"]["best_step"] == 2
    assert record["steps"] == 6
    assert record["final_hash"] == best.weights_hash == weights_hash(zoo.load(run.model_file).network)
    _, aside = put_aside(small_data, 0.25, 0)
    rows = predict(zoo.load(run.path), aside, "train")
    assert evaluate_coco(aside.coco("train"), rows).ap == best.ap
    assert not run.best_dir.exists()
    two = recipe_of("train.hold_out=0.25", "train.schedule=flat", "train.steps=2")
    assert equal(tensors(run), tensors(train(two, small_data, tmp_path / "two")))


@pytest.mark.slow
def test_the_average_is_what_is_evaluated_and_kept(recipe_of, small_data, tmp_path):
    more = ["train.keep=best", "train.ema_decay=0.9", "train.steps=4", "train.evaluate_every=4"]
    run = train(recipe_of(*ASIDE[:1], *more), small_data, tmp_path / "run")
    plain = train(recipe_of("train.hold_out=0.25", *more[1:3]), small_data, tmp_path / "plain")
    assert equal(tensors(run), tensors(plain))  # the last step is the best of one evaluation


def test_a_run_ends_early(recipe_of, small_data, tmp_path, falling, monkeypatch):
    more = ["train.patience=2", "train.steps=40", "train.checkpoint_seconds=1000"]
    run = train(recipe_of(*ASIDE, *more), small_data, tmp_path / "run")
    record = run.record()
    assert record["status"] == "finished"
    assert record["stopped_early"]
    assert record["steps"] == record["delivered_step"] == len(list(run.log())) == 6
    assert record["steps_total"] == 40
    assert evaluate(run).images > 0
    again = train(recipe_of(*ASIDE, *more), small_data, run.path, on_progress=lambda *_: pytest.fail("again"))
    assert again.record() == record
    falling.clear()
    deliver = Chooser.deliver
    monkeypatch.setattr(Chooser, "deliver", lambda *_: (_ for _ in ()).throw(StopError))
    with pytest.raises(StopError):  # killed after its last checkpoint
        train(recipe_of(*ASIDE, *more), small_data, tmp_path / "cut")
    monkeypatch.setattr(Chooser, "deliver", deliver)
    resumed = train(recipe_of(*ASIDE, *more), small_data, tmp_path / "cut", resume=True)
    assert resumed.record()["stopped_early"]
    assert resumed.record()["steps"] == 6
    assert resumed.record()["final_hash"] == record["final_hash"]


def test_a_model_that_answers_with_nan_is_worth_nothing(recipe_of, small_data, tmp_path, capsys):
    wild = recipe_of(*ASIDE, "train.keep=best", "train.lr=1e30", "train.warmup_steps=0", "train.steps=1")
    run = train(wild, small_data, tmp_path / "run")
    assert "step 1: the model gives no usable boxes (scores must be finite)" in capsys.readouterr().err
    assert [e["ap"] for e in run.evaluations()] == [0.0]


@pytest.mark.parametrize(
    ("at", "often"),
    [
        (5, "1e-6"),
        pytest.param(4, "1e-6", marks=pytest.mark.slow),
        pytest.param(5, "1000", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_makes_the_same_choices(at, often, recipe_of, small_data, tmp_path):
    more = [*ASIDE, "train.keep=best", "train.lr=0.01", "train.ema_decay=0.5"]
    whole = train(recipe_of(*more), small_data, tmp_path / "whole")

    def kill(done, total, note=""):
        if done == at and not note.startswith("evaluating"):
            raise StopError

    # a checkpoint after each step, or only the one before the first
    recipe = recipe_of(*more, f"train.checkpoint_seconds={often}")
    with pytest.raises(StopError):
        train(recipe, small_data, tmp_path / "cut", on_progress=kill)
    run = train(recipe, small_data, tmp_path / "cut", resume=True)
    assert equal(tensors(whole), tensors(run))
    kept = [(e.step, e.ap, e.weights_hash, e.best) for e in evaluations.read(run)]
    assert kept == [(e.step, e.ap, e.weights_hash, e.best) for e in evaluations.read(whole)]
    assert run.record()["final_hash"] == whole.record()["final_hash"]


@pytest.mark.parametrize("by", [StopError, InterruptedRunError])
def test_a_run_stopped_during_an_evaluation_makes_up_for_it(by, recipe_of, small_data, tmp_path, monkeypatch):
    monkeypatch.setattr(look, "predict", partial(predict, batch_size=1))  # several ticks
    recipe = recipe_of(*ASIDE, "train.keep=best", "train.checkpoint_seconds=1e-6")
    whole = train(recipe, small_data, tmp_path / "whole")

    def stop(done, total, note=""):
        if done == 4 and note.startswith("evaluating"):
            if by is StopError:
                raise StopError
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(by):
        train(recipe, small_data, tmp_path / "cut", on_progress=stop)
    assert [e["step"] for e in RunDir(tmp_path / "cut").evaluations()] == [2]
    assert len(list(RunDir(tmp_path / "cut").log())) == 4
    run = train(recipe, small_data, tmp_path / "cut", resume=True)
    assert [e["step"] for e in run.evaluations()] == [2, 4, 6]
    assert equal(tensors(whole), tensors(run))


@pytest.mark.slow
def test_best_weights_that_are_gone_or_changed_are_named(recipe_of, small_data, tmp_path, monkeypatch):
    recipe = recipe_of(*ASIDE, "train.keep=best", "train.checkpoint_seconds=1e-6", "train.lr=0.05")

    def kill(done, total, note=""):
        if done == 5:
            raise StopError

    for name in ("gone", "changed"):
        with pytest.raises(StopError):
            train(recipe, small_data, tmp_path / name, on_progress=kill)
        found = evaluations.best_of(evaluations.read(RunDir(tmp_path / name)))
        file = RunDir(tmp_path / name).best_file(found.step)
        if name == "gone":
            file.unlink()
        else:
            save_model(file, rtdetr.build_nano(small_data.class_names))
        with pytest.raises(
            DataError, match=r"safetensors: (the best weights of the run are gone|is not what)"
        ):
            train(recipe, small_data, tmp_path / name, resume=True)


def test_choosing_on_val_is_said(recipe_of, small_data, tmp_path, capsys):
    recipe = recipe_of("train.keep=best", "train.choose_on=val", "train.evaluate_every=3")
    run = train(recipe, small_data, tmp_path / "run")
    assert "warning: the weights are chosen on val" in capsys.readouterr().err
    record = run.record()
    assert record["chosen_on"] == "val"
    assert record["evaluations"]["images"] == len(small_data.coco("val")["images"])
    assert evaluate(run).ap == record["evaluations"]["best_ap"]
    assert len(list(run.log())) == 6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["train.keep=best"], "keep = best needs images to choose on"),
        (["train.patience=2", "train.hold_out=0.1", "train.evaluate_every=never"], "evaluate_every is never"),
        (["train.evaluate_every=soon"], "write it like 1 epoch, 500 steps or never"),
        (["train.hold_out=1.0"], "less than 1"),
        (["train.keep=good"], "'last' or 'best'"),
    ],
)
def test_settings_that_cannot_be_meant(settings, words):
    with pytest.raises(UsageError, match=words):
        load_recipe("nano-baseline", settings)


def test_intervals():
    def interval(text, **more):
        settings = [f"train.evaluate_every={text}", *(f"train.{k}={v}" for k, v in more.items())]
        return load_recipe("nano-baseline", settings).train.evaluation_interval(7)

    assert interval("2 epochs", hold_out=0.1) == 14
    assert interval("1 epoch", choose_on="val") == 7
    assert interval("5", hold_out=0.1) == interval("5 steps", hold_out=0.1) == 5
    assert interval("never", hold_out=0.1) is None
    assert interval("1 epoch") is None


def test_a_pretrained_run_holds_the_same_images_out_of_both_stages(small_data, tmp_path):
    with pytest.raises(UsageError, match=r"settings of \[train\]"):
        load_recipe("nano-dinov3-vit-paper", ["pretrain.keep=best", "pretrain.hold_out=0.1"])
    recipe = load_recipe(
        "nano-dinov3-vit-paper",
        [
            *("train.steps=2", "train.batch_size=4", "train.hold_out=0.25", "train.evaluate_every=1"),
            *("pretrain.steps=2", "pretrain.batch_size=4"),
        ],
    )
    run = train(recipe, small_data, tmp_path / "run")
    first = read_json(run.path / "pretrain" / "run.json")
    assert first["recipe"]["train"]["hold_out"] == 0.25
    assert first["evaluations"]["count"] == 0
    assert [e["step"] for e in run.evaluations()] == [1, 2]
    assert part_of(small_data, "train", frozenset()).coco("train")["images"] == []
