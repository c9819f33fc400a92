"""``--deterministic``: the same losses twice, settings given back, and what cannot be had so is named."""

from __future__ import annotations

import json
import os

import pytest
import torch

from taco_kd.config import load_recipe
from taco_kd.errors import UsageError
from taco_kd.train.determinism import deterministic

killing = pytest.importorskip("killing")


def test_the_same_losses_twice(server, tiny_data, tmp_path):
    logs = []
    for name in ("one", "two"):
        out = tmp_path / name
        words = ["distill", "--recipe", "nano-matched", "--no-gate", "--deterministic", "--steps", "3"]
        done = server.run([*words, *killing.SMALL, "--data", str(tiny_data), "--out", str(out)], out)
        assert done["code"] == 0, done["said"]
        logs.append(killing.left(out)["log.jsonl"])
        assert json.loads((out / "run.json").read_text())["recipe"]["train"]["deterministic"] is True
    assert len(logs[0]) == 3
    assert logs[0] == logs[1]


def test_it_is_on_inside_and_as_before_outside(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.backends.cudnn.benchmark
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
    assert torch.backends.cudnn.benchmark == before
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_what_is_not_deterministic_is_named():
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with (
            pytest.raises(UsageError, match=r"train\.deterministic: \S+ has no deterministic form on this"),
            deterministic(True),
        ):
            torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2), accumulate=False)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    with pytest.raises(RuntimeError, match="another"), deterministic(True):
        raise RuntimeError("another")


def test_the_first_of_two_stages_follows_the_flag():
    from taco_kd.train.stage import COMMON

    assert "deterministic" in COMMON
    recipe = load_recipe("nano-paper-code", ["train.deterministic=true"])
    assert recipe.train.deterministic
