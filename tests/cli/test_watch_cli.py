"""``taco-kd watch`` and the options of ``train`` that say who watches."""

import importlib.util
import json

import pytest

from taco_kd.runs import RunDir

QUICK = ["--set", "train.batch_size=2", "--image-size", "96"]


@pytest.fixture
def trained(run, small_data, tmp_path):
    """A run of two steps with an evaluation, as a user starts it."""
    said = run(
        *("train", "--data", small_data.path, "--out", "runs/mine", "--steps", "2", *QUICK),
        *("--set", "train.hold_out=0.2", "--set", "train.evaluate_every=1", "--track", "tensorboard"),
    )
    assert said.code == 0, said.err
    return said


def test_a_training_is_followed_and_watched(run, trained, tmp_path):
    pytest.importorskip("tensorboard")
    assert "Put aside: 3 of 17 training images" in trained.err
    assert "nano-baseline: step 2: AP" in trained.err
    assert "nano-baseline: 2/2" in trained.err
    assert len(list((tmp_path / "runs/mine/tracking/mine").glob("events.out.*"))) == 1
    once = run("watch", "runs/mine", "--once")
    assert once.code == 0
    assert "finished after 2 steps" in once.out
    assert "loss over steps" in once.out
    followed = run("watch", "runs/mine", "--every", "0.1")  # ends at once, as the run has ended
    assert followed.out.splitlines()[-1].startswith("runs/mine: finished after 2 steps, loss ")
    one = json.loads(run("watch", "runs/mine", "--json").out)
    assert (one["status"], one["step"], one["steps_total"]) == ("finished", 2, 2)
    assert 0 <= one["ap"] <= one["best_ap"] <= 1
    many = json.loads(run("watch", "runs", "--once", "--json").out)
    assert [each["run"] for each in many] == ["runs/mine"]
    assert "mine" in run("watch", "runs", "--once").out


def test_nothing_to_watch(run, tmp_path):
    for words in (["watch", "nowhere", "--once"], ["watch", "--once", "--json"]):
        said = run(*words)
        assert said.code == 3
        assert "no run there yet" in said.err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text("{")
    assert run("watch", "bad", "--once").code == 3


def test_trackers_that_cannot_be_used(run, small_data, tmp_path):
    said = run("train", "--data", small_data.path, "--out", "r", "--track", "excel")
    assert (said.code, "choose one of tensorboard, wandb, mlflow" in said.err) == (2, True)
    said = run("distill", "--data", small_data.path, "--out", "r", "--track-project", "x")
    assert (said.code, "go with --track" in said.err) == (2, True)
    if importlib.util.find_spec("mlflow") is None:
        said = run("distill", "--data", small_data.path, "--out", "r", "--track", "mlflow")
        assert said.code == 4
        assert said.err.endswith("mlflow is not installed here: pip install mlflow\n")
    assert not (tmp_path / "r").exists()


def test_stdout_is_json_alone(run, small_data):
    said = run(
        *("train", "--data", small_data.path, "--out", "r", "--steps", "1", *QUICK, "--json"),
        *("--set", "train.choose_on=val", "--set", "train.keep=best", "--track", "tensorboard"),
    )
    assert json.loads(said.out).keys() == {"run", "before", "after"}
    assert "the weights are chosen on val" in said.err


def test_engines(run, small_data, tmp_path):
    there = ["--data", small_data.path, "--out", "r"]
    for words, message in (
        (["train", "--engine", "yolo"], "unknown engine 'yolo': choose one of taco-kd, ultralytics"),
        (["train", "--engine", "ultralytics"], "not rtdetr-nano"),
        (["train", "--engine", "ultralytics", "--recipe", "nano-paper"], "trains without a teacher"),
    ):
        said = run(*words, *there)
        assert said.code == 2
        assert message in said.err
        assert not (tmp_path / "r").exists()
    run("train", *there, "--steps", "1", *QUICK)
    record = RunDir(tmp_path / "r").record()
    said = run("train", "--resume", "r", "--engine", "ultralytics")
    assert (said.code, "was begun with --engine taco-kd" in said.err) == (2, True)
    said = run("train", "--recipe", "nano-yolo11", "--engine", "ultralytics", *there)
    assert (said.code, "holds a run of taco-kd's own loop" in said.err) == (2, True)
    assert RunDir(tmp_path / "r").record() == record
