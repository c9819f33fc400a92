"""Cells in processes of their own: side by side, killed, stopped, and as submitit's jobs."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from taco_kd.errors import MissingResourceError, UsageError
from taco_kd.runs import RunDir
from taco_kd.study.launchers import launcher
from taco_kd.study.local import visible_gpus


def command(*words):
    return [sys.executable, "-m", "taco_kd", "study", *map(str, words)]


def call(*words, cwd, code=0):
    found = subprocess.run(
        command(*words, "--resamples", 100), capture_output=True, text=True, cwd=cwd, timeout=500, check=False
    )
    assert found.returncode == code, found.stderr
    return found


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


def test_two_at_a_time_with_the_threads_shared_out(file, tmp_path):
    found = call(file(), "--out", "o", "--jobs", 2, "--only", "*_seed0", "--json", cwd=tmp_path)
    assert finished(tmp_path / "o") == ["baseline_seed0", "paper_seed0"]
    result = json.loads(found.stdout)
    assert [cell["state"] for cell in result["cells"]] == ["finished", "finished", "to do", "to do"]
    assert result["rows"][1]["words"]
    threads = max(1, (os.cpu_count() or 1) // 2)
    for name in finished(tmp_path / "o"):
        assert RunDir.open(tmp_path / "o/runs" / name).record()["environment"]["torch_threads"] == threads


def wait_for_steps(process, folder, number):
    """Until the first cell has done that many steps."""
    while process.poll() is None:
        if len(steps(folder, "baseline_seed0")) >= number:
            return
        time.sleep(0.05)
    pytest.fail(f"ended early: {process.communicate()}")


def test_a_killed_study_goes_on_where_it_was(file, tmp_path):
    words = (file(steps=40, seconds=0.5), "--out", "o", "--only", "*_seed0")
    process = subprocess.Popen(command(*words), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for_steps(process, tmp_path / "o", 5)
    process.kill()
    process.communicate()
    assert finished(tmp_path / "o") == []
    again = call(*words, cwd=tmp_path)  # waits for the cell that the killed one may still be writing
    assert "paper" in again.stdout
    assert finished(tmp_path / "o") == ["baseline_seed0", "paper_seed0"]
    assert steps(tmp_path / "o", "baseline_seed0") == list(range(1, 41))
    record = RunDir.open(tmp_path / "o/runs/baseline_seed0").record()
    assert record["steps"] == 40


def test_sigterm_stops_cleanly_and_says_so(file, tmp_path):
    words = (file(steps=100_000), "--out", "o", "--jobs", 2)
    process = subprocess.Popen(command(*words), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for_steps(process, tmp_path / "o", 3)
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 75, errors
    assert errors.splitlines()[-1] == "taco-kd: stopped; the same command goes on from there"
    record = json.loads((tmp_path / "o/runs/baseline_seed0/run.json").read_text())
    assert record["status"] == "stopped"
    assert record["steps"] == len(steps(tmp_path / "o", "baseline_seed0"))
    assert not (tmp_path / "o/failed").exists()
    plan = json.loads(call(*words, "--dry-run", "--json", cwd=tmp_path).stdout)
    assert plan["cells"][0]["state"] == "stopped"
    assert plan["cells"][0]["steps"] == record["steps"]


def test_a_cell_whose_process_is_killed_fails_and_the_next_one_runs(file, tmp_path):
    words = (file(steps=60), "--out", "o", "--only", "*_seed0")
    process = subprocess.Popen(command(*words), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for_steps(process, tmp_path / "o", 3)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True, text=True, check=True
    )
    os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert "baseline_seed0: its process was killed by signal 9, perhaps for its memory" in errors
    assert errors.splitlines()[-1] == "taco-kd: 1 of 2 cells failed: baseline_seed0"
    assert finished(tmp_path / "o") == ["paper_seed0"]


def test_jobs_of_submitit(file, tmp_path):
    pytest.importorskip("submitit")
    words = (file(), "--out", "o", "--launcher", "slurm", "--jobs", 2, "--only", "*_seed0")
    call(*words, cwd=tmp_path)
    assert finished(tmp_path / "o") == ["baseline_seed0", "paper_seed0"]
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
    found = call(study, "--out", "o", "--launcher", "slurm", cwd=tmp_path, code=4)
    assert "--launcher slurm: there is no sbatch here" in found.stderr.splitlines()[-1]

    from taco_kd.study import slurm

    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingResourceError, match=r"pip install 'taco-kd\[study\]'"):
        list(slurm.run_slurm([object()], None))


def test_ray_where_it_is_not_installed(monkeypatch):
    from taco_kd.study import ray_tune

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingResourceError, match=r"pip install 'ray\[tune\]'"):
        list(ray_tune.run_ray([], None))


def test_trials_of_ray(file, tmp_path):
    pytest.importorskip("ray.tune")
    found = call(file(), "--out", "o", "--launcher", "ray", "--only", "*_seed0", "--json", cwd=tmp_path)
    assert json.loads(found.stdout)["rows"][1]["words"]
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
        (["nothing"], 2, "unknown study 'nothing': choose one of table1, table1-nano"),
        (["table1-nano", "--only", "x"], 2, "--only 'x': none of the 18 cells matches"),
        (["table1-nano", "--launcher", "k8s"], 2, "unknown launcher 'k8s'"),
        (["table1"], 3, "taco640: the study's dataset is not there"),
    ],
)
def test_mistakes_at_the_command_line(words, code, says, tmp_path):
    found = call(*words, cwd=tmp_path, code=code)
    assert says in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_the_paper_table(tmp_path):
    found = call("table1", "--dry-run", cwd=tmp_path)
    assert "rt-co-detr_imagenet_seed2" in found.stdout
    assert "50 epochs" in found.stdout
    assert "0 of 24 cells are finished" in found.stdout
    assert "taco640 is not a prepared dataset yet" in found.stderr
    assert list(tmp_path.iterdir()) == []
