"""A study from its file to its verdict: what is run, what is left alone, what is refused, what goes wrong."""

import json
import shutil

import pytest

from taco_kd.errors import DataError, UsageError
from taco_kd.evaluate.stage import evaluate
from taco_kd.models import zoo
from taco_kd.runs import RunDir
from taco_kd.study.config import FoldsConfig
from taco_kd.study.fold_data import make_folds
from taco_kd.study.plan import plan


def times(out):
    return {file.parent.name: file.stat().st_mtime_ns for file in (out / "runs").glob("*/model.safetensors")}


def test_a_study_leaves_normal_runs_a_table_and_a_page(text, whole):
    out, outcome = whole
    assert sorted(times(out)) == ["baseline_seed0", "baseline_seed1", "paper_seed0", "paper_seed1"]
    for name in times(out):
        opened = RunDir.open(out / "runs" / name)
        assert opened.record()["steps"] == 2
        assert opened.record()["recipe"]["train"]["seed"] == int(name[-1])
        assert evaluate(opened).images > 0
    assert outcome.failed == []
    base, paper = outcome.rows
    assert (base.arm, base.seeds, base.seeds_wanted, base.difference) == ("baseline", 2, 2, None)
    aps = [evaluate(RunDir.open(out / "runs" / f"paper_seed{seed}")).ap for seed in (0, 1)]
    assert paper.ap == pytest.approx(sum(aps) / 2)
    assert paper.ap_sd == pytest.approx(abs(aps[0] - aps[1]) / 2**0.5)
    assert paper.difference.words.startswith("paper ")
    assert "baseline" in paper.difference.words

    record = json.loads((out / "study.json").read_text())
    assert [cell["state"] for cell in record["cells"]] == ["finished"] * 4
    assert record["rows"][1]["words"] == paper.difference.words
    assert record["study"]["seeds"] == [0, 1]
    page = (out / "study.md").read_text()
    assert paper.difference.words in page
    assert "4 of 4 cells are finished" in page
    assert (out / "report.html").stat().st_size > 10_000
    assert (out / "study.toml").read_text() == text()


def test_what_is_finished_is_not_run_again_and_what_is_missing_is(text, run, done):
    before = times(done)
    shutil.rmtree(done / "runs" / "paper_seed1")
    outcome = run(text())
    after = times(done)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == ["paper_seed1"]
    assert [row.seeds for row in outcome.rows] == [2, 2]


def test_seeds_that_are_added_are_counted(text, run, done):
    before = times(done)
    outcome = run(text().replace("[0, 1]", "[0, 1, 2]"), only="baseline_seed2")
    assert {name: times(done)[name] for name in before} == before
    assert [(row.seeds, row.seeds_wanted) for row in outcome.rows] == [(3, 3), (2, 3)]


def test_a_changed_study_is_refused_and_run_again_only_with_overwrite(text, run, done):
    before = times(done)
    changed = text().replace('recipe = "nano-paper"', 'recipe = "nano-paper"\nset.train.lr = 1e-5')
    with pytest.raises(UsageError) as error:
        run(changed)
    assert "2 of 4 cells were run with other settings" in str(error.value)
    assert "paper_seed0: train.lr was 0.0004 and is 1e-05" in str(error.value)
    assert "--overwrite" in str(error.value)
    assert times(done) == before
    assert (done / "study.toml").read_text() == text()  # still that of the cells

    run(changed, only="base*")  # nothing that changed is touched or compared
    outcome = json.loads((done / "study.json").read_text())
    assert [cell["state"] for cell in outcome["cells"]] == ["finished", "changed"] * 2
    assert outcome["rows"][1]["ap"] is None

    run(changed, overwrite=True, only="paper_seed0")
    after = times(done)
    assert [name for name in after if after[name] != before[name]] == ["paper_seed0"]
    assert RunDir.open(done / "runs/paper_seed0").record()["recipe"]["train"]["lr"] == 1e-5


def test_a_changed_dataset_is_a_change_of_every_cell(text, run, done, small_data, tmp_path):
    fold = make_folds(small_data, tmp_path / "other", FoldsConfig(count=3))[0]
    with pytest.raises(UsageError, match=r"4 of 4 cells .* baseline_seed0: the data changed"):
        run(text(), data_path=fold.path)


def test_a_failed_cell_is_written_down_and_the_others_go_on(text, run, done, tmp_path, monkeypatch):
    shutil.rmtree(done / "runs" / "paper_seed0")
    more = """
[[arms]]
name = "broken"
recipe = "nano-baseline"
set.student.weights = "nowhere.safetensors"

[[arms]]
name = "after"
recipe = "nano-baseline"
student_from = "broken"
"""
    # before "paper" in the file, so that there is something to go on with
    first, second = text().split('[[arms]]\nname = "paper"')
    study = first + more + '\n[[arms]]\nname = "paper"' + second
    outcome = run(study, only="*_seed0")
    assert [status.cell.id for status in outcome.failed] == ["broken_seed0", "after_seed0"]
    assert outcome.failed[0].reason.startswith("nowhere.safetensors: no such weights")
    assert outcome.failed[1].reason == "needs broken_seed0, which failed"
    assert "paper_seed0" in times(done)
    assert next(row for row in outcome.rows if row.arm == "paper").difference is not None
    assert "broken_seed0 (failed): nowhere.safetensors: no such weights" in outcome.text.read_text()
    # Once the cause is gone the same call goes on.
    monkeypatch.chdir(tmp_path)
    shutil.copy(zoo.packaged_file(zoo.find("rtdetr-nano")), "nowhere.safetensors")
    again = run(study, only="broken_seed0")
    assert again.failed == []
    assert "broken_seed0" in times(done)
    assert not (done / "failed/broken_seed0.json").exists()


def test_a_second_stage_starts_from_the_first(text, run, tmp_path):
    more = """
[[arms]]
name = "first"
recipe = "nano-baseline"
compared = false

[[arms]]
name = "second"
recipe = "nano-paper"
student_from = "first"
"""
    outcome = run(text(more=more), only="second_seed0")
    runs = tmp_path / "out" / "runs"
    assert sorted(times(tmp_path / "out")) == ["first_seed0", "second_seed0"]
    load = RunDir.open(runs / "second_seed0").record()["loads"][0]
    assert load["source"] == str(runs / "first_seed0" / "model.safetensors")
    assert load["matched_share"] == 1.0
    assert [row.arm for row in outcome.rows] == ["baseline", "paper", "second"]
    assert outcome.questions[0].reason == "the reference baseline has no complete seed yet"


def test_folds_are_compared_on_all_images_each_predicted_once(text, run, small_data, tmp_path):
    study = text().replace("seeds = [0, 1]", "seeds = [0]\nfolds = {count = 2}")
    outcome = run(study)
    assert sorted(times(tmp_path / "out")) == [
        f"{arm}_seed0_fold{fold}" for arm in ("baseline", "paper") for fold in (0, 1)
    ]
    images = sum(small_data.record()["counts"][split]["images"] for split in ("train", "val"))
    assert outcome.questions[0].comparison.images == images
    predictions = outcome.questions[0].arms[0].seeds[0].predictions()
    seen = [
        {row["image_id"] for row in json.loads(file.read_text())}
        for file in sorted((tmp_path / "out/runs").glob("baseline*/predictions/val.json"))
    ]
    assert not seen[0] & seen[1]
    assert {row["image_id"] for row in predictions} == seen[0] | seen[1]
    assert outcome.rows[0].ap == pytest.approx(outcome.questions[0].comparison.arms[0].metrics.ap)
    assert (
        "2 folds: each image was predicted once, by a model that did not see it" in outcome.text.read_text()
    )


def test_another_folder_is_never_written(text, run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="not empty and holds no study of ours"):
        run(text())
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_another_study_is_never_mixed_in(text, run, done):
    with pytest.raises(UsageError, match="holds the study small, not large"):
        run(text().replace('name = "small"', 'name = "large"'))
    (done / "study.toml").write_text("not TOML")
    with pytest.raises(UsageError, match=r"study\.toml: not valid TOML .*choose another --out"):
        run(text())


def test_data_that_is_not_there(text, run, small_data, tmp_path):
    with pytest.raises(DataError, match="the study's dataset is not there; make it with taco-kd prepare"):
        run(text().replace(str(small_data.path), "nowhere"))
    assert not (tmp_path / "out").exists()


def test_the_plan_says_what_is_done_and_writes_nothing(text, load, whole, done, small_data, tmp_path):
    study = load(text())
    fresh = plan(study, tmp_path / "fresh")
    assert [status.state for status in fresh.statuses] == ["to do"] * 4
    assert fresh.seconds_left is None
    assert not (tmp_path / "fresh").exists()
    assert plan(study, done).seconds_left == 0

    shutil.rmtree(done / "runs" / "paper_seed1")
    shutil.rmtree(done / "runs" / "baseline_seed1")
    found = plan(study, done)
    assert [(s.state, s.steps_done, s.steps_total) for s in found.statuses] == [
        ("finished", 2, 2),
        ("finished", 2, 2),
        ("to do", 0, 2),
        ("to do", 0, 2),
    ]
    assert found.seconds_left == pytest.approx(sum(status.seconds for status in found.statuses))
    epochs = text().replace("steps = 2", "epochs = 3").replace("nano-baseline", "baseline")
    by_epochs = plan(load(epochs), done).statuses
    images = small_data.record()["counts"]["train"]["images"]
    assert by_epochs[2].steps_total == 3 * (images // 2)
    assert by_epochs[0].state == "changed"
    missing = plan(load(text().replace("nano-paper", 'nano-paper"\nset.student.weights = "w.pt')), done)
    assert missing.notes == ("weights: w.pt is not here, and paper_seed0 needs it",)
