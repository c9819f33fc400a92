"""Curves in TensorBoard read back from its files; the others by their absence."""

import importlib.util
import logging

import pytest

from taco_kd.config import load_recipe
from taco_kd.errors import MissingResourceError, UsageError
from taco_kd.train import checkpoint
from taco_kd.train.stage import train
from taco_kd.train.tracked_values import hyperparameters, step_values
from taco_kd.train.trackers import require, trackers

SMALL = [
    *("train.steps=6", "train.batch_size=2", "student.image_size=96", "train.warmup_steps=1"),
    *("train.hold_out=0.2", "train.evaluate_every=3"),
]


class StopError(Exception):
    pass


@pytest.fixture
def curves(monkeypatch):
    """Scalars of a folder of TensorBoard files, each as (step, value) pairs."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(logging.getLogger("tensorboard"), "disabled", True)

    def read(folder):
        found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        found.Reload()
        return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}

    return read


def test_a_resumed_run_goes_on_with_its_curves(small_data, tmp_path, curves, monkeypatch):
    recipe = load_recipe("nano-baseline", [*SMALL, "train.checkpoint_seconds=1e-6"])
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *a: save(*a) if a[1].step in (0, 3, 6) else None)

    def kill(done, total, note=""):
        if done == 5 and not note.startswith("evaluating"):
            raise StopError

    out = tmp_path / "run"
    with pytest.raises(StopError), trackers(["tensorboard"], None, None) as opened:
        train(recipe, small_data, out, on_progress=kill, observers=opened)
    with trackers(["tensorboard"], None, None) as opened:
        run = train(recipe, small_data, out, resume=True, observers=opened)
    found = curves(out / "tracking" / "run")
    log = list(run.log())
    for tag, key in (("train/loss", "loss"), ("train/lr", "lr"), ("speed/images_per_s", "images_per_s")):
        assert [step for step, _ in found[tag]] == [1, 2, 3, 4, 5, 6]
        if key != "images_per_s":
            assert [value for _, value in found[tag]] == pytest.approx([line[key] for line in log])
    assert [value for _, value in found["terms/vfl"]] == pytest.approx([line["terms"]["vfl"] for line in log])
    evaluations = [(e["step"], e["ap"]) for e in run.evaluations()]
    assert found["eval/ap"] == [(step, pytest.approx(ap)) for step, ap in evaluations]
    (table,) = (out / "tracking" / "run").glob("*/hparams.yml")
    assert "train.batch_size: 2" in table.read_text()
    assert "student.model: rtdetr-nano" in table.read_text()


def test_tracking_is_no_part_of_the_recipe(small_data, tmp_path, curves):
    recipe = load_recipe("nano-baseline", [*SMALL, "train.steps=1", "train.evaluate_every=never"])
    with trackers(["tensorboard", "tensorboard"], tmp_path / "elsewhere", None) as opened:
        assert len(opened) == 1
        run = train(recipe, small_data, tmp_path / "run", observers=opened)
    assert not (run.path / "tracking").exists()
    assert curves(tmp_path / "elsewhere" / "run")["train/loss"][0][0] == 1
    assert "track" not in str(run.record()["recipe"])
    again = train(recipe, small_data, tmp_path / "run", on_progress=lambda *_: pytest.fail("trained again"))
    assert again.record() == run.record()


def test_both_stages_are_one_curve(small_data, tmp_path, curves):
    recipe = load_recipe(
        "nano-dinov3-vit-paper",
        [
            *("train.steps=2", "train.batch_size=2", "student.image_size=96"),
            *("pretrain.steps=3", "pretrain.batch_size=2"),
        ],
    )
    with trackers(["tensorboard"], None, None) as opened:
        train(recipe, small_data, tmp_path / "run", observers=opened)
    found = curves(tmp_path / "run" / "tracking" / "run")
    assert [step for step, _ in found["train/loss"]] == [1, 2, 3, 4, 5]
    assert [step for step, _ in found["terms/kd_features"]] == [1, 2, 3]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_library_that_is_not_there_is_told_before_the_first_step(name):
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed here")
    with pytest.raises(MissingResourceError, match=f"--track {name}: .* pip install {name}"):
        require([name])


def test_an_unknown_tracker_is_refused():
    with pytest.raises(UsageError, match="unknown tracker 'comet': choose one of tensorboard, wandb, mlflow"):
        require(["comet"])


def test_a_tracker_that_cannot_start_is_one_line(small_data, tmp_path):
    (tmp_path / "file").write_text("")
    recipe = load_recipe("nano-baseline", SMALL)
    with (
        pytest.raises(MissingResourceError, match="--track tensorboard: cannot be started"),
        trackers(["tensorboard"], tmp_path / "file" / "below", None) as opened,
    ):
        train(recipe, small_data, tmp_path / "run", observers=opened)
    assert not list((tmp_path / "run").glob("log.jsonl"))


def test_values_that_are_no_numbers_are_left_out():
    line = {"step": 3, "loss": None, "lr": 0.1, "grad_norm": float("nan"), "terms": {"a": None, "b": 2}}
    assert step_values(line) == {"train/lr": 0.1, "terms/b": 2.0}
    assert step_values({"skipped": True, "raw": {"kd": 1.0}, "pairs": 4}) == {
        "train/skipped": 1.0,
        "raw/kd": 1.0,
        "train/pairs": 4.0,
    }


def test_hyperparameters_are_flat():
    record = {
        "kind": "train",
        "data": {"content_hash": "ab"},
        "recipe": load_recipe("nano-paper").model_dump(),
    }
    found = hyperparameters(record)
    assert found["train.lr"] == 4e-4
    assert found["distill.pairing"] == "index"
    assert found["data"] == "ab"
    assert "train.epochs" in found
    assert "pretrain" not in found
    assert all(isinstance(value, str | int | float | bool) for value in found.values())
