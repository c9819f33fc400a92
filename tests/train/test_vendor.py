"""Ultralytics' own trainer behind ``--engine ultralytics``: what it is asked for, and what comes out."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from taco_kd.config import load_recipe
from taco_kd.data.part import put_aside
from taco_kd.errors import DataError, InterruptedRunError, TacoKDError, UsageError
from taco_kd.evaluate.stage import evaluate, evaluate_initial, evaluate_model
from taco_kd.models import zoo
from taco_kd.models.inert_pickle import read_pickled_model
from taco_kd.models.weights import weights_hash
from taco_kd.runs import DataDir, RunDir
from taco_kd.train.stage import train
from taco_kd.train.vendor.arguments import plan, require_possible
from taco_kd.train.vendor.folder import write_data
from taco_kd.train.vendor.stage import train_with_ultralytics

SMALL = ["train.batch_size=6", "student.image_size=96", "train.warmup_steps=1"]


def recipe_of(*more):
    return load_recipe("nano-yolo11", [*SMALL, *more])


@pytest.fixture(scope="module")
def student(small_data):
    return zoo.find("yolo11-nano").build(small_data.class_names)


def files_below(folder):
    return {p: p.stat().st_mtime_ns for p in Path(folder).rglob("*") if p.is_file()}


class TestPlan:
    def test_the_recipe_in_its_words(self, student):
        recipe = recipe_of("train.steps=90", "train.lr=3e-3", "train.seed=4", "train.horizontal_flip=0.25")
        found = plan(recipe, student, 17, "cpu")
        wanted = {
            **{"epochs": 30, "batch": 6, "nbs": 6, "imgsz": 192, "lr0": 3e-3, "seed": 4, "fliplr": 0.25},
            **{"optimizer": "AdamW", "cos_lr": True, "lrf": 0.0, "weight_decay": 5e-4, "device": "cpu"},
            **{"val": False, "patience": 0, "amp": False, "plots": False},
        }
        assert {key: found.arguments[key] for key in wanted} == wanted
        assert (found.batches, found.steps_total, found.warmup_steps) == (3, 90, 1)
        assert not any("steps are" in words for words in found.untold)

    def test_what_it_does_otherwise_is_said(self, student):
        more = ["train.steps=100", "train.clip_norm=0.1", "train.schedule=multi-step", "train.max_skipped=3"]
        words = "; ".join(plan(recipe_of(*more), student, 17, "cuda:1").untold)
        assert "100 steps are 33 epochs of 3" in words
        assert "clipped at 10 instead of 0.1" in words
        assert "flat instead of dropping" in words
        assert "not mapped: train.max_skipped" in words

    def test_choices_and_precision(self, student):
        more = ["train.hold_out=0.2", "train.patience=7", "train.precision=bf16", "train.epochs=4"]
        found = plan(recipe_of(*more), student, 17, "cuda:1").arguments
        assert (found["val"], found["patience"], found["amp"], found["device"]) == (True, 7, "bf16", "1")


@pytest.mark.parametrize(
    ("recipe", "more", "words"),
    [
        ("nano-paper", [], "trains without a teacher, and recipe nano-paper has one"),
        ("nano-yolo11", ["pseudo.data=somewhere"], "cannot mix in pseudo-labels"),
        ("nano-yolo11", ["train.backbone_lr_ratio=0.1"], "all parameters at one rate"),
        ("nano-baseline", [], "not rtdetr-nano"),
    ],
)
def test_what_it_cannot_train_is_refused(recipe, more, words, small_data, tmp_path):
    with pytest.raises(UsageError, match=words):
        train_with_ultralytics(load_recipe(recipe, more), small_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_torchrun_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="without torchrun"):
        require_possible(recipe_of())


def test_the_dataset_is_linked_and_val_is_not_looked_at(small_data, tmp_path):
    import yaml

    stay, aside = put_aside(small_data, 0.25, 0)
    file = write_data(tmp_path / "data", small_data, stay, (aside, "train"))
    document = yaml.safe_load(file.read_text())
    assert list(document["names"].values()) == list(small_data.class_names)
    lists = {name: (tmp_path / "data" / f"{name}.txt").read_text().split() for name in ("train", "val")}
    assert not set(lists["train"]) & set(lists["val"])
    assert len(lists["val"]) == len(aside.image_ids)
    for name in (*lists["train"], *lists["val"]):
        assert (tmp_path / "data" / name).is_file()
        label = name.replace("/images/", "/labels/").replace(".jpg", ".txt")
        assert (tmp_path / "data" / label).is_file()
    blind = write_data(tmp_path / "data", small_data, stay, None)
    assert set((blind.parent / "val.txt").read_text().split()) <= set(lists["train"])


def test_an_ordinary_run_comes_out_and_nothing_is_written_elsewhere(small_data, tmp_path):
    before = files_below(small_data.path)
    home = [Path.home() / ".config" / "Ultralytics", Path.home() / ".config" / "yolov8"]
    outside = [files_below(folder) for folder in home]
    seen = []

    class Observer:
        def begin(self, begin):
            seen.append(begin.whole)

        def on_step(self, done):
            seen.append(done.step)

        def on_evaluated(self, found):
            seen.append("ap")

        def close(self):
            pass

    recipe = recipe_of("train.steps=9", "train.hold_out=0.25", "train.keep=best")
    run = train_with_ultralytics(recipe, small_data, tmp_path / "run", observers=[Observer()])
    record = RunDir.open(run.path).record()
    assert record["engine"] == "ultralytics"
    assert record["engine_version"] in record["environment"]["packages"].values()
    assert record["engine_arguments"]["lr0"] == recipe.train.lr
    assert record["chosen_on"] == "hold-out"
    assert record["steps"] == record["steps_total"] == 9
    assert seen == [9, 1, 2, 3, "ap", 4, 5, 6, "ap", 7, 8, 9, "ap"]
    log = list(run.log())
    assert [entry["step"] for entry in log] == list(range(1, 10))
    assert log[0]["terms"].keys() == {"box", "cls", "dfl"}
    assert record["init_hash"] == weights_hash(_initial(recipe, small_data).network)
    assert evaluate_initial(run).images == evaluate(run).images > 0
    model = zoo.load(run.path)
    assert weights_hash(model.network) == record["final_hash"]
    kept = read_pickled_model(run.vendor_dir / "train" / "weights" / "best.pt").state
    assert all(torch.equal(value, kept[key]) for key, value in model.network.state_dict().items())
    assert files_below(small_data.path) == before
    assert [files_below(folder) for folder in home] == outside
    again = train_with_ultralytics(recipe, small_data, run.path)
    assert again.record() == record
    with pytest.raises(UsageError, match="holds a run of Ultralytics' trainer"):
        train(recipe, small_data, run.path)
    with pytest.raises(UsageError, match="holds a run with other settings"):
        train_with_ultralytics(recipe_of("train.steps=12"), small_data, run.path)


def _initial(recipe, data):
    from taco_kd.models.settings import initial_student

    torch.manual_seed(recipe.train.seed)
    return initial_student(recipe.student, data.class_names, seed=recipe.train.seed)[0]


@pytest.mark.slow
def test_a_stopped_run_goes_on_after_its_last_whole_epoch(small_data, tmp_path):
    recipe = recipe_of("train.epochs=5", "train.steps=15")
    out = tmp_path / "run"

    def interrupt():
        while not (out / "log.jsonl").is_file() or (out / "log.jsonl").read_text().count("\n") < 4:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(InterruptedRunError, match=r"stopped in epoch \d of 5; the same command goes on"):
        train_with_ultralytics(recipe, small_data, out)
    record = RunDir(out).record()
    assert record["status"] == "stopped"
    assert record["epochs"] >= 1
    run = train_with_ultralytics(recipe, small_data, out)
    assert [line["step"] for line in run.log()] == list(range(1, 16))
    assert run.record()["status"] == "finished"


@pytest.mark.slow
def test_a_run_killed_after_the_trainer_ended_is_only_finished(small_data, tmp_path, monkeypatch):
    from taco_kd.train.vendor import following, stage

    recipe = recipe_of("train.steps=6", "train.hold_out=0.2")
    finish = stage._finish

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "_finish", killed)
    with pytest.raises(KeyboardInterrupt):
        train_with_ultralytics(recipe, small_data, tmp_path / "run")
    monkeypatch.setattr(stage, "_finish", finish)
    monkeypatch.setattr(following, "listen", lambda *_: pytest.fail("trained again"))
    run = train_with_ultralytics(recipe, small_data, tmp_path / "run")
    record = run.record()
    assert (record["status"], record["steps"], record["epochs"]) == ("finished", 6, 2)
    assert record["evaluations"]["count"] == 2
    assert len(list(run.log())) == 6


@pytest.mark.slow
def test_what_a_resume_reads_is_no_pickle_of_objects(small_data, tmp_path):
    recipe = recipe_of("train.steps=12")
    out = tmp_path / "run"

    def kill(done, total, note=""):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_with_ultralytics(recipe, small_data, out, on_progress=kill)
    saved = out / "ultralytics" / "resume.pt"
    assert torch.load(saved, weights_only=True)["epoch"] == 0

    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/owned",))

    torch.save({"model": Evil()}, saved)
    with pytest.raises(TacoKDError, match=r"resume\.pt: not a usable checkpoint"):
        train_with_ultralytics(recipe, small_data, out)
    assert not (tmp_path / "owned").exists()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["yolo11-nano", "rtdetr-hgnetv2-nano"])
def test_its_model_scores_the_same_through_its_own_file(model, small_data, tmp_path):
    """AP of the run is that of the file its trainer wrote, read by our reader."""
    steps = {"yolo11-nano": 500, "rtdetr-hgnetv2-nano": 6}[model]
    more = [f"student.model={model}", f"train.steps={steps}", "train.batch_size=8"]
    recipe = load_recipe("nano-yolo11", [*SMALL, *more, "student.image_size=192"])
    data = DataDir(Path(shutil.copytree(small_data.path, tmp_path / "data")))
    run = train_with_ultralytics(recipe, data, tmp_path / "run")
    ours = evaluate(run, split="train")
    file = run.vendor_dir / "train" / "weights" / "last.pt"
    fresh = _initial(recipe, data)
    fresh.network.load_state_dict(read_pickled_model(file).state)
    read, _ = evaluate_model(fresh, data, "train")
    assert read.ap == ours.ap
    if model == "yolo11-nano":
        assert ours.ap > 0.01


@pytest.mark.slow
def test_a_trainer_that_fails_says_its_last_line(small_data, tmp_path):
    data = DataDir(Path(shutil.copytree(small_data.path, tmp_path / "data")))
    for file in (data.path / "labels" / "train").iterdir():
        file.write_text("")  # no object anywhere
    for file in (data.path / "images" / "train").iterdir():
        file.write_bytes(b"")
    with pytest.raises((TacoKDError, DataError), match=r"Ultralytics' trainer failed: .*output\.txt"):
        train_with_ultralytics(recipe_of("train.steps=3"), data, tmp_path / "run")
    assert RunDir(tmp_path / "run").record()["status"] == "running"
