"""The training stage: determinism, resume, records, refusals."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from taco_kd.config import Recipe, TrainConfig, load_recipe, validate
from taco_kd.errors import DataError, TacoKDError, UsageError
from taco_kd.models import conditional_detr, rtdetr, zoo
from taco_kd.models.weight_files import read_safetensors
from taco_kd.models.weights import save_model
from taco_kd.runs import RunDir
from taco_kd.train import checkpoint
from taco_kd.train.optim import build_optimizer, lr_at
from taco_kd.train.stage import train

SMALL = ["train.steps=3", "train.batch_size=2", "train.warmup_steps=1"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory, small_data):
    """Random student and teacher with the classes of the data, as files."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_model(folder / "student.safetensors", rtdetr.build_nano(small_data.class_names))
    save_model(folder / "teacher.safetensors", conditional_detr.build_nano(small_data.class_names))
    return folder


@pytest.fixture
def baseline(weights):
    return load_recipe("nano-baseline", [f"student.weights={weights}/student.safetensors", *SMALL])


@pytest.fixture
def paper(weights):
    teacher = f"teacher.weights={weights}/teacher.safetensors"
    return load_recipe("nano-paper", [f"student.weights={weights}/student.safetensors", teacher, *SMALL])


def tensors(run):
    return read_safetensors(run.model_file)[0]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_leaves_a_complete_record(baseline, small_data, tmp_path):
    run = RunDir.open(train(baseline, small_data, tmp_path / "run").path)
    record = run.record()
    assert record["status"] == "finished"
    assert record["kind"] == "train"
    assert record["steps"] == 3
    assert record["recipe"] == baseline.model_dump(mode="json")
    assert record["data"]["content_hash"] == small_data.content_hash
    assert record["environment"]["packages"]["torch"] == torch.__version__.split("+")[0]
    assert record["loads"][0]["matched_share"] == 1.0
    assert record["init_hash"] != record["final_hash"]
    log = list(run.log())
    assert [line["step"] for line in log] == [1, 2, 3]
    assert log[0]["loss"] == pytest.approx(sum(log[0]["terms"].values()), rel=1e-4)


def test_same_seed_same_weights_other_seed_other_weights(baseline, small_data, tmp_path):
    first = train(baseline, small_data, tmp_path / "a")
    again = train(baseline, small_data, tmp_path / "b")
    assert equal(tensors(first), tensors(again))
    other = baseline.model_copy(update={"train": baseline.train.model_copy(update={"seed": 1})})
    assert not equal(tensors(first), tensors(train(other, small_data, tmp_path / "c")))


def test_distillation_logs_every_term_and_changes_the_result(baseline, paper, small_data, tmp_path):
    plain, distilled = train(baseline, small_data, tmp_path / "a"), train(paper, small_data, tmp_path / "b")
    assert plain.record()["init_hash"] == distilled.record()["init_hash"]
    assert distilled.record()["kind"] == "distill"
    line = next(distilled.log())
    assert line["raw"].keys() == {"kd_features", "kd_classes", "kd_boxes"}
    assert all(value > 0 for value in line["raw"].values())
    assert line["terms"]["kd_boxes"] == pytest.approx(1.2 * line["raw"]["kd_boxes"], rel=1e-5)
    assert line["pairs"] == 2 * 60
    assert not equal(tensors(plain), tensors(distilled))
    # no cost at inference: the delivered file has the keys and shapes of the baseline
    assert {k: v.shape for k, v in tensors(plain).items()} == {
        k: v.shape for k, v in tensors(distilled).items()
    }


class StopError(Exception):
    pass


@pytest.mark.parametrize("name", ["baseline", "paper"])
def test_a_killed_run_resumes_to_the_same_weights(name, request, small_data, tmp_path):
    recipe = request.getfixturevalue(name)
    recipe = recipe.model_copy(
        update={"train": recipe.train.model_copy(update={"checkpoint_seconds": 1e-6, "ema_decay": 0.5})}
    )
    whole = train(recipe, small_data, tmp_path / "whole")

    def stop_at_two(done, total, note=""):
        if done == 3:
            raise StopError  # after the log line of step 3, before its checkpoint

    with pytest.raises(StopError):
        train(recipe, small_data, tmp_path / "cut", on_progress=stop_at_two)
    with pytest.raises(DataError, match="not finished"):
        RunDir.open(tmp_path / "cut")
    resumed = train(recipe, small_data, tmp_path / "cut", resume=True)
    assert equal(tensors(whole), tensors(resumed))
    assert [line["step"] for line in resumed.log()] == [1, 2, 3]
    assert [line["loss"] for line in resumed.log()] == [line["loss"] for line in whole.log()]


def test_sigterm_saves_and_exits_75_and_the_same_command_goes_on(baseline, small_data, tmp_path):
    command = [
        sys.executable,
        "-m",
        "taco_kd",
        "train",
        "--data",
        str(small_data.path),
        "--out",
        str(tmp_path / "r"),
    ]
    weights_flag = ["--weights", baseline.student.weights, "--set", "train.batch_size=2"]
    process = subprocess.Popen(
        [*command, *weights_flag, "--steps", "100000"], stderr=subprocess.PIPE, text=True
    )
    log = tmp_path / "r" / "log.jsonl"
    while process.poll() is None and not (log.is_file() and log.read_text().count("\n") >= 2):
        pass
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    assert "stopped at step" in errors.splitlines()[-1]
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert record["status"] == "stopped"
    assert record["steps"] == len(log.read_text().splitlines())
    assert checkpoint.exists(tmp_path / "r" / "checkpoint")


def test_an_identical_finished_run_is_not_done_again(baseline, small_data, tmp_path):
    run = train(baseline, small_data, tmp_path / "run")
    before = run.record_file.stat().st_mtime_ns
    train(baseline, small_data, tmp_path / "run", on_progress=lambda *_: pytest.fail("trained again"))
    assert run.record_file.stat().st_mtime_ns == before


def test_other_settings_do_not_replace_a_run_unasked(baseline, small_data, tmp_path):
    train(baseline, small_data, tmp_path / "run")
    other = baseline.model_copy(update={"train": baseline.train.model_copy(update={"lr": 1e-5})})
    with pytest.raises(UsageError, match="already holds another run"):
        train(other, small_data, tmp_path / "run")
    assert (
        train(other, small_data, tmp_path / "run", overwrite=True).record()["recipe"]["train"]["lr"] == 1e-5
    )


def test_a_foreign_folder_is_never_written(baseline, small_data, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="not empty and holds no run of ours"):
        train(baseline, small_data, tmp_path, overwrite=True)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]


def test_teacher_and_distill_go_together():
    values = {"name": "half", "description": "", "distill": {}}
    with pytest.raises(UsageError, match="go together"):
        validate(Recipe, values, where="half.toml")


def test_an_exploding_loss_stops_with_its_terms(baseline, small_data, tmp_path):
    wild = baseline.model_copy(
        update={"train": baseline.train.model_copy(update={"lr": 1e30, "steps": 30, "warmup_steps": 0})}
    )
    with pytest.raises((TacoKDError, ValueError)):
        train(wild, small_data, tmp_path / "run")


def test_schedule_by_hand():
    config = TrainConfig(lr=1.0, warmup_steps=2, schedule="cosine")
    assert [lr_at(s, 6, config) for s in range(6)] == pytest.approx(
        [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447], abs=1e-6
    )
    assert lr_at(5, 6, TrainConfig(lr=0.3)) == 0.3


def test_optimiser_groups_hold_every_trained_parameter_once():
    model = rtdetr.build_nano(("a", "b"))
    config = TrainConfig(lr=1.0, backbone_lr_ratio=0.1, weight_decay=0.5)
    optimizer = build_optimizer(model, None, config)
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters() if p.requires_grad}
    assert len(grouped) == len({id(p) for p in grouped})
    backbone = {id(p) for p in model.network.model.backbone.parameters()}
    for group in optimizer.param_groups:
        assert all((id(p) in backbone) == (group["lr"] == pytest.approx(0.1)) for p in group["params"])
        assert all((p.ndim > 1) == (group["weight_decay"] == 0.5) for p in group["params"])


def test_refinement_is_a_setting_of_rtdetr_and_travels(baseline, small_data, tmp_path):
    changed = baseline.model_copy(
        update={"student": baseline.student.model_copy(update={"refinement": "original"})}
    )
    run = train(changed, small_data, tmp_path / "run")
    assert zoo.load(run.model_file).refinement == "original"
    plain = train(baseline, small_data, tmp_path / "plain")
    assert not equal(tensors(run), tensors(plain))  # other gradients from the first step on
    other = load_recipe(
        "nano-baseline",
        ["student.model=conditional-detr-nano", "student.weights=random", "student.refinement=original"],
    )
    with pytest.raises(UsageError, match=r"student\.refinement is a setting of RT-DETR, not of conditional"):
        train(other, small_data, tmp_path / "other")
