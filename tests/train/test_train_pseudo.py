"""Training on a mixture with pseudo-labels: recorded, resumable, and refused where they changed."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from taco_kd.config import load_recipe
from taco_kd.data.overlap import prints_of_split
from taco_kd.errors import DataError
from taco_kd.models import rtdetr
from taco_kd.models.weight_files import read_safetensors
from taco_kd.models.weights import save_model
from taco_kd.runs import DataDir
from taco_kd.train import checkpoint, stage
from taco_kd.train.stage import train


@pytest.fixture(scope="module")
def pseudo(small_data, tmp_path_factory):
    path = tmp_path_factory.mktemp("pseudo") / "set"
    shutil.copytree(small_data.path, path)
    found = DataDir(path)
    prints = {p.path.name: p.record() for p in prints_of_split(found, "train")}
    (path / "prints.json").write_text(json.dumps(prints))
    record = found.record() | {"kind": "pseudo", "validation": {"content_hash": small_data.content_hash}}
    found.record_file.write_text(json.dumps(record))
    return found


@pytest.fixture(scope="module")
def recipe(small_data, pseudo, tmp_path_factory):
    weights = tmp_path_factory.mktemp("weights") / "student.safetensors"
    torch.manual_seed(0)
    save_model(weights, rtdetr.build_nano(small_data.class_names))
    given = [f"student.weights={weights}", "train.steps=2", "train.batch_size=2", "train.warmup_steps=1"]
    return load_recipe("nano-baseline", [*given, f"pseudo.data={pseudo.path}", "pseudo.weight=0.5"])


def test_the_run_records_the_pseudo_labels_and_resumes_to_the_same_weights(
    recipe, small_data, pseudo, tmp_path, monkeypatch
):
    whole = train(recipe, small_data, tmp_path / "whole")
    assert whole.record()["pseudo"] == {
        "path": str(pseudo.path.resolve()),
        "content_hash": pseudo.content_hash,
    }
    assert whole.record()["data"]["content_hash"] == small_data.content_hash  # runs stay comparable

    save = checkpoint.save
    monkeypatch.setattr(
        stage.checkpoint,
        "save",
        lambda folder, state, beside: save(folder, state, beside) if state.step < 2 else stop(),
    )

    def stop():
        raise KeyboardInterrupt

    cut = recipe.model_copy(update={"train": recipe.train.model_copy(update={"checkpoint_seconds": 1e-6})})
    with pytest.raises(KeyboardInterrupt):
        train(cut, small_data, tmp_path / "cut")
    monkeypatch.undo()
    again = train(cut, small_data, tmp_path / "cut", resume=True)
    first, second = (read_safetensors(run.model_file)[0] for run in (whole, again))
    assert all(torch.equal(first[key], second[key]) for key in first)

    plain = train(recipe.model_copy(update={"pseudo": None}), small_data, tmp_path / "plain")
    assert plain.record()["pseudo"] is None
    third = read_safetensors(plain.model_file)[0]
    assert not all(torch.equal(first[key], third[key]) for key in first)

    record = pseudo.record()
    pseudo.record_file.write_text(json.dumps(record | {"content_hash": "other"}))
    try:
        with pytest.raises(DataError, match=r"pseudo-labels .* changed since"):
            train(cut, small_data, tmp_path / "cut", resume=True)
    finally:
        pseudo.record_file.write_text(json.dumps(record))
