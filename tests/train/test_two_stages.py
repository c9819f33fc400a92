"""Recipes of two stages: teachers alone, then labels alone, from weights that are proved to have arrived."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from taco_kd.config import load_recipe
from taco_kd.errors import DataError
from taco_kd.evaluate.stage import evaluate_initial
from taco_kd.models import conditional_detr, rtdetr
from taco_kd.models.weight_files import read_safetensors
from taco_kd.models.weights import save_model
from taco_kd.runs import RunDir
from taco_kd.train.stage import train


class KilledError(Exception):
    """Stands for a process that ends between two steps."""


SMALL = ["train.steps=3", "pretrain.steps=2", "train.batch_size=2", "pretrain.batch_size=2"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, small_data):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_model(folder / "student.safetensors", rtdetr.build_nano(small_data.class_names))
    save_model(folder / "teacher.safetensors", conditional_detr.build_nano(small_data.class_names))
    own = [f"student.weights={folder}/student.safetensors", f"teacher.weights={folder}/teacher.safetensors"]
    return load_recipe("nano-paper-code", [*own, *SMALL])


@pytest.fixture(scope="module")
def run(recipe, small_data, tmp_path_factory):
    return train(recipe, small_data, tmp_path_factory.mktemp("two") / "run")


def test_both_stages_are_runs_and_the_second_starts_where_the_first_ended(recipe, run):
    record, first = run.record(), RunDir.open(run.path / "pretrain").record()
    assert record["status"] == first["status"] == "finished"
    assert (first["steps"], record["steps"]) == (2, 3)
    assert record["recipe"] == recipe.model_dump(mode="json")
    assert record["kind"] == "distill"
    assert record["init_hash"] == first["init_hash"] != first["final_hash"]
    assert record["teacher_hash"] == first["teacher_hash"] is not None
    assert record["pretrain"]["final_hash"] == first["final_hash"]
    assert record["loads"][-1]["source"].endswith("pretrain") or "pretrain" in str(record["loads"][-1])
    assert record["seconds"] >= first["seconds"]


def test_the_first_stage_has_no_label_and_the_second_no_teacher(run):
    first = list(RunDir(run.path / "pretrain").log())
    assert all(line["terms"].keys() == {"kd_features", "kd_classes", "kd_boxes"} for line in first)
    assert all(not line["raw"] and not any(t.startswith("kd") for t in line["terms"]) for line in run.log())


def test_progress_counts_both_stages(recipe, small_data, tmp_path):
    ticks = []
    train(
        recipe,
        small_data,
        tmp_path / "run",
        on_progress=lambda done, whole, note="": ticks.append((done, whole)),
    )
    assert ticks == [(n, 5) for n in range(1, 6)]


def test_the_student_before_is_the_one_before_both_stages(recipe, run):
    assert evaluate_initial(run).images > 0


def test_the_seed_is_that_of_the_whole_run(recipe, small_data, tmp_path):
    other = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": 7})})
    found = train(other, small_data, tmp_path / "run")
    assert RunDir(found.path / "pretrain").record()["recipe"]["train"]["seed"] == 7


def test_a_run_of_two_stages_is_not_done_again(recipe, small_data, run):
    before = run.model_file.stat().st_mtime_ns
    train(recipe, small_data, run.path)
    assert run.model_file.stat().st_mtime_ns == before


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_a_run_killed_in_either_stage_ends_with_the_same_weights(stage, recipe, run, small_data, tmp_path):
    out = tmp_path / "run"

    def kill(done, _whole, _note=""):
        if done == (1 if stage == "pretrain" else 4):
            raise KilledError

    with pytest.raises(KilledError):
        train(recipe, small_data, out, on_progress=kill)
    train(recipe, small_data, out)
    ours, theirs = (read_safetensors(each.model_file)[0] for each in (RunDir(out), run))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_first_stage_weights_that_are_not_what_it_left_are_refused(recipe, small_data, tmp_path):
    out = tmp_path / "run"

    def after_the_first(done, _whole, _note=""):
        if done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        train(recipe, small_data, out, on_progress=after_the_first)
    train(recipe.model_copy(update={"name": "x"}), small_data, tmp_path / "other")
    torch.manual_seed(5)
    first = train(
        recipe.model_copy(
            update={
                "name": f"{recipe.name}-pretrain",
                "train": recipe.pretrain,
                "pretrain": None,
                "labels": False,
            }
        ),
        small_data,
        out / "pretrain",
    )
    save_model(first.model_file, rtdetr.build_nano(small_data.class_names))
    with pytest.raises(DataError, match="did not arrive in the second stage"):
        train(recipe, small_data, out)


def test_sigterm_in_the_first_stage_exits_75_and_resume_goes_on(recipe, small_data, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "taco_kd", "distill", "--recipe", "nano-paper-code", "--data"]
    command += [
        str(small_data.path),
        "--out",
        str(out),
        "--set",
        "pretrain.steps=400",
        "--set",
        "train.steps=1",
    ]
    command += ["--set", "pretrain.batch_size=2", "--set", "train.batch_size=2"]
    command += ["--set", f"student.weights={recipe.student.weights}"]
    command += ["--set", f"teacher.weights={recipe.teacher.weights}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = out / "pretrain" / "log.jsonl"
    for _ in range(1200):
        if log.is_file() and log.read_text().count("\n") >= 2:
            break
        if process.poll() is not None:
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert RunDir(out / "pretrain").record()["status"] == "stopped"
