"""Cells in processes of their own: side by side, killed, stopped, and as submitit's jobs."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from taco_kd.cli.app import app
from taco_kd.errors import MissingResourceError, TacoKDError, UsageError
from taco_kd.runs import RunDir
from taco_kd.study.launchers import launcher
from taco_kd.study.local import visible_gpus


def invoke(*words):
    """The command in this process; its cells still have their own."""
    return CliRunner().invoke(app, ["study", *map(str, words), "--resamples", "100"])


@contextmanager
def started(*words, cwd):
    """The command in a process of its own, for sending signals to."""
    command = [sys.executable, "-m", "taco_kd", "study", *map(str, words), "--resamples", "100"]
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(folder):
    return sorted(file.parent.parent.name for file in folder.glob("runs/*/metrics/val.json"))


def steps(folder, cell):
    return [line["step"] for line in RunDir(folder / "runs" / cell).log()]


@pytest.fixture
def file(text, tmp_path):
    def write(**options):
        path = tmp_path / "study.toml"
        path.write_text(text(**options))
        return path

    return write


def wait_for_steps(process, folder, number):
    """Until the first cell has done that many steps."""
    while process.poll() is None:
        if len(steps(folder, "baseline_seed0")) >= number:
            return
        time.sleep(0.05)
    pytest.fail(f"ended early: {process.communicate()}")


def test_a_killed_study_goes_on_where_it_was(file, tmp_path):
    words = (file(steps=12, seconds=0.1), "--out", tmp_path / "o", "--only", "baseline_seed0")
    with started(*words, cwd=tmp_path) as process:
        wait_for_steps(process, tmp_path / "o", 3)
        process.kill()
    assert finished(tmp_path / "o") == []
    again = invoke(*words)  # waits for the cell that the killed one may still be writing
    assert again.exit_code == 0, again.exception
    assert "no arm but the reference baseline has a complete seed yet" in again.stdout
    assert finished(tmp_path / "o") == ["baseline_seed0"]
    assert steps(tmp_path / "o", "baseline_seed0") == list(range(1, 13))


def test_sigterm_stops_cleanly_and_says_so(file, tmp_path):
    words = (file(steps=100_000), "--out", tmp_path / "o", "--only", "baseline_seed0")
    with started(*words, cwd=tmp_path) as process:
        wait_for_steps(process, tmp_path / "o", 3)
        os.kill(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 75, errors
    assert errors.splitlines()[-1] == "taco-kd: stopped; the same command goes on from there"
    record = json.loads((tmp_path / "o/runs/baseline_seed0/run.json").read_text())
    assert record["status"] == "stopped"
    assert record["steps"] == len(steps(tmp_path / "o", "baseline_seed0"))
    assert not (tmp_path / "o/failed").exists()
    plan = json.loads(invoke(*words, "--dry-run", "--json").stdout)
    assert plan["cells"][0]["state"] == "stopped"
    assert plan["cells"][0]["steps"] == record["steps"]


def test_of_two_cells_side_by_side_one_is_killed_and_the_other_finishes(file, tmp_path):
    words = (file(steps=30), "--out", tmp_path / "o", "--jobs", 2, "--only", "*_seed0", "--json")
    with started(*words, cwd=tmp_path) as process:
        wait_for_steps(process, tmp_path / "o", 3)
        # The process of a cell is known by the log that it prints to.
        log = str(tmp_path / "o/logs/baseline_seed0.log")
        child = next(
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and os.access(entry / "fd", os.R_OK) and _prints_to(entry, log)
        )
        os.kill(child, signal.SIGKILL)
        found, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert "baseline_seed0: its process was killed by signal 9, perhaps for its memory" in errors
    assert errors.splitlines()[-1] == "taco-kd: 1 of 2 cells failed: baseline_seed0"
    assert finished(tmp_path / "o") == ["paper_seed0"]
    record = RunDir.open(tmp_path / "o/runs/paper_seed0").record()
    assert record["environment"]["torch_threads"] == max(1, (os.cpu_count() or 1) // 2)
    result = json.loads(found)
    assert [cell["state"] for cell in result["cells"]] == ["failed", "finished", "to do", "to do"]


def _prints_to(process, log):
    try:
        return str((process / "fd" / "1").readlink()) == log
    except OSError:
        return False  # ended meanwhile


def test_jobs_of_submitit(file, tmp_path):
    pytest.importorskip("submitit")
    words = (file(), "--out", tmp_path / "o", "--launcher", "slurm", "--only", "paper_seed0")
    found = invoke(*words)
    assert found.exit_code == 0, found.exception
    assert finished(tmp_path / "o") == ["paper_seed0"]
    assert list((tmp_path / "o/logs/slurm").glob("*_result.pkl"))


def test_a_submitted_job_can_be_queued_again():
    submitit = pytest.importorskip("submitit")
    from taco_kd.study.slurm import Requeued
    from taco_kd.study.work import Job

    job = Job("id", {}, "data", "run", "lock", "folder")
    again = Requeued(job).checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function == Requeued(job)


def test_slurm_without_a_cluster_or_submitit(file, tmp_path, monkeypatch):
    study = file()
    study.write_text(study.read_text().replace('cluster = "local"', ""))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = invoke(study, "--out", tmp_path / "o", "--launcher", "slurm")
    assert isinstance(found.exception, MissingResourceError)
    assert "--launcher slurm: there is no sbatch here" in str(found.exception)
    monkeypatch.setitem(sys.modules, "submitit", None)
    found = invoke(study, "--out", tmp_path / "o", "--launcher", "slurm")
    assert isinstance(found.exception, MissingResourceError)
    assert "pip install 'taco-kd[study]'" in str(found.exception)


def test_ray_where_it_is_not_installed(monkeypatch):
    from taco_kd.study import ray_tune

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingResourceError, match=r"pip install 'ray\[tune\]'"):
        list(ray_tune.run_ray([], None))


@pytest.mark.slow
def test_trials_of_ray(file, tmp_path):
    pytest.importorskip("ray.tune")
    with started(
        file(), "--out", "o", "--launcher", "ray", "--only", "*_seed0", "--json", cwd=tmp_path
    ) as process:
        found, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert json.loads(found)["rows"][1]["words"]
    assert finished(tmp_path / "o") == ["baseline_seed0", "paper_seed0"]


def test_an_unknown_launcher():
    with pytest.raises(UsageError, match="unknown launcher 'k8s': choose one of local, slurm, ray"):
        launcher("k8s")


def test_gpus_are_those_the_user_leaves_visible(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5c")
    assert visible_gpus() == ["3", "GPU-5c"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nothing"], 2, "unknown study 'nothing': choose one of distill-nano, table1, table1-nano"),
        (["table1-nano", "--only", "x"], 2, "--only 'x': none of the 18 cells matches"),
        (["table1-nano", "--launcher", "k8s"], 2, "unknown launcher 'k8s'"),
        (["table1"], 3, "taco640: the study's dataset is not there"),
    ],
)
def test_mistakes_at_the_command_line(words, code, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = invoke(*words)
    assert isinstance(found.exception, TacoKDError)
    assert found.exception.exit_code == code
    assert says in str(found.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_the_paper_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = invoke("table1", "--dry-run")
    assert found.exit_code == 0
    assert "rt-co-detr_imagenet_seed2" in found.stdout
    assert "50 epochs" in found.stdout
    assert "0 of 36 cells are finished" in found.stdout
    plan = json.loads(invoke("table1", "--dry-run", "--json").stdout)
    assert plan["notes"][0].startswith("data: taco640 is not a prepared dataset yet")
    assert any("weights/yolo11l.pt is not here" in note for note in plan["notes"])
    assert list(tmp_path.iterdir()) == []
