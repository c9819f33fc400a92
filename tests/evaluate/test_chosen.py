"""A run that was chosen on the images it is reported on: every report says so."""

import json
from pathlib import Path

import pytest

from taco_kd.cli import main
from taco_kd.config import load_recipe
from taco_kd.evaluate.comparable import confounders
from taco_kd.evaluate.comparison import compare_runs
from taco_kd.evaluate.evaluation import Options, evaluate_source
from taco_kd.evaluate.stage import evaluate
from taco_kd.report.evaluation import write_evaluation
from taco_kd.report.page import report
from taco_kd.train.stage import train

SAID = "was chosen on the split it is reported on (val): its figures there are too high"


@pytest.fixture(scope="module")
def runs(small_data, tmp_path_factory):
    """One chosen on val, one on images put aside."""
    folder = tmp_path_factory.mktemp("runs")
    short = ["train.steps=2", "train.batch_size=2", "train.keep=best", "train.evaluate_every=1"]
    found = []
    for name, more in (("on-val", "train.choose_on=val"), ("put-aside", "train.hold_out=0.2")):
        recipe = load_recipe("nano-baseline", [*short, "student.image_size=96", more])
        found.append(train(recipe, small_data, folder / name))
        evaluate(found[-1])
    return found


def test_compare_tells_the_one_arm_that_was(runs):
    result = compare_runs(runs, resamples=100)
    assert f"on-val {SAID}" in result.confounders
    assert not any("put-aside was chosen" in line for line in (*result.confounders, *result.notes))


def test_compare_tells_of_both_where_both_were(runs, tmp_path):
    import shutil

    twin = tmp_path / "twin"
    shutil.copytree(runs[0].path, twin)
    result = compare_runs([runs[0], type(runs[0])(twin)], resamples=100, group_seeds=False)
    assert [f"{name} {SAID}" for name in ("on-val", "twin")] == list(result.notes)


def test_pages_and_evaluations_say_it(runs, tmp_path):
    page = report(runs[:1], tmp_path / "one.html", max_images=0).read_text()
    assert f"on-val {SAID}" in page
    assert "val, the split it is reported on" in page
    assert SAID not in report(runs[1:], tmp_path / "other.html", max_images=0).read_text()
    compared = compare_runs(runs, resamples=100).to_json()
    both = report(runs, tmp_path / "both.html", comparison=compared, max_images=0).read_text()
    assert both.count(f"on-val {SAID}") == 1
    found = evaluate_source(str(runs[0].path), tmp_path / "e", Options())
    assert found.to_json()["chosen_on"] == "val"
    assert SAID in write_evaluation(found, tmp_path / "e").read_text()
    on_train = evaluate_source(str(runs[0].path), tmp_path / "t", Options(split="train"))
    assert on_train.to_json()["chosen_on"] is None


def test_the_commands_say_it(runs, monkeypatch, capsys):
    import sys

    for words in (["evaluate", runs[0].path], ["compare", *(run.path for run in runs), "--resamples", 100]):
        monkeypatch.setattr(sys, "argv", ["taco-kd", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        said = capsys.readouterr()
        assert f"warning: on-val {SAID}" in said.err
        assert SAID not in said.out


def test_another_trainer_is_a_confounder(runs):
    record = json.loads(Path(runs[1].record_file).read_text())
    assert confounders("a", record, "b", record) == []
    assert confounders("a", record, "b", {**record, "engine": "ultralytics"}) == [
        "trainer: taco-kd in a, ultralytics in b: the difference may come from this"
    ]
