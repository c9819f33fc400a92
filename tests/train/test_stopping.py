"""SIGINT and SIGTERM, by real signals: a step is finished and saved, all else ends at once; exit 75."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from taco_kd.errors import InterruptedRunError
from taco_kd.train import stopping
from taco_kd.train.stopping import StopRequests

killing = pytest.importorskip("killing")  # forks


def command(data, out, *more, name="train"):
    return [name, "--data", str(data), "--out", str(out), *killing.SMALL, "--steps", "3", *more]


@pytest.fixture(scope="module")
def undisturbed(server, tiny_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    done = server.run(command(tiny_data, out), out)
    assert done["code"] == 0, done["said"]
    return killing.left(out)


@pytest.mark.parametrize("number", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_the_step_is_finished_and_saved(server, tiny_data, undisturbed, tmp_path, number):
    out = tmp_path / "run"
    done = server.run(command(tiny_data, out), out, signals={"before backward": number})
    assert done["code"] == 75, done["said"]
    assert "Stopping: finishing the step and saving it; once more to stop at once." in done["said"]
    last = done["said"].splitlines()[-1]
    hint = f"the same command goes on, or taco-kd train --resume {out}"
    assert last == f"taco-kd: {out}: stopped at step 1 of 3; {hint}"
    record = json.loads((out / "run.json").read_text())
    assert (record["status"], record["steps"]) == ("stopped", 1)
    assert all(killing.sound(file) for file in (out / "checkpoint").iterdir())
    done = server.run(["train", "--resume", str(out)], out)
    assert done["code"] == 0, done["said"]
    assert killing.left(out) == undisturbed


def test_a_second_signal_ends_the_step_at_once_without_damage(server, tiny_data, undisturbed, tmp_path):
    out = tmp_path / "run"
    signals = {"before backward": "SIGINT", "after backward": "SIGINT"}
    done = server.run(command(tiny_data, out), out, signals=signals)
    assert done["code"] == 75, done["said"]
    assert "taco-kd: stopped at once; the same command goes on, or" in done["said"].splitlines()[-1]
    assert "before optimizer.step" not in done["points"]
    assert not list(out.rglob("*.tmp"))
    done = server.run(["train", "--resume", str(out)], out)
    assert done["code"] == 0, done["said"]
    assert killing.left(out) == undisturbed


def test_a_second_signal_inside_the_write_leaves_nothing_half(server, tiny_data, tmp_path):
    out = tmp_path / "run"
    inside = "inside write run/checkpoint/.000000001.tmp/000000001"
    signals = {"before backward": "SIGTERM", inside: "SIGTERM"}
    done = server.run(command(tiny_data, out), tmp_path, signals=signals)
    assert done["code"] == 75, done["said"]
    assert "stopped at once" in done["said"].splitlines()[-1]
    assert [f.name[:9] for f in (out / "checkpoint").iterdir()] == ["000000000"]


def test_before_the_first_step(server, tiny_data, tmp_path):
    """As the folder is made, when every model was built."""
    out = tmp_path / "run"
    done = server.run(command(tiny_data, out), tmp_path, signals={"os.mkdir run": "SIGTERM"})
    assert done["code"] == 75, done["said"]
    assert "stopped at once" in done["said"].splitlines()[-1]
    assert not out.exists()


@pytest.mark.slow
def test_in_the_teacher_gate(server, tiny_data, tmp_path):
    out = tmp_path / "run"
    done = server.run(command(tiny_data, out, name="distill"), tiny_data.parent)
    gate = next(name for name in done["points"] if "gates/" in name)
    for file in (tiny_data / "gates").iterdir():
        file.unlink()
    again = tmp_path / "again"
    done = server.run(command(tiny_data, again, name="distill"), tiny_data.parent, signals={gate: "SIGTERM"})
    assert done["code"] == 75, done["said"]
    assert "stopped at once; the same command goes on" in done["said"].splitlines()[-1]
    assert not again.exists()
    assert not list(tiny_data.rglob("*.tmp"))


def test_in_the_evaluation_after_training(server, tiny_data, undisturbed, tmp_path):
    out = tmp_path / "run"
    place = "os.mkdir run/predictions"
    done = server.run(command(tiny_data, out), tmp_path, signals={place: "SIGTERM"})
    assert done["code"] == 75, done["said"]
    assert f"{out} is trained, and the same command evaluates it" in done["said"].splitlines()[-1]
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    done = server.run(command(tiny_data, out), tmp_path)
    assert done["code"] == 0, done["said"]
    assert "before forward" not in done["points"]
    assert killing.left(out) == undisturbed


def test_handlers_are_given_back_and_nest(monkeypatch):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequests("outer") as outer:
        with StopRequests("inner") as inner, inner.after_the_step():
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner.requested
            os.kill(os.getpid(), signal.SIGTERM)  # the same request, handed on by somebody
            monkeypatch.setattr(stopping, "TOGETHER_S", 0)
            with pytest.raises(InterruptedRunError, match="stopped at once; inner"):
                os.kill(os.getpid(), signal.SIGINT)
        assert not outer.requested
        with pytest.raises(InterruptedRunError, match="stopped at once; outer"):
            os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_in_another_thread_nothing_is_handled():
    found = []
    thread = threading.Thread(target=lambda: found.append(StopRequests().__enter__().requested))
    thread.start()
    thread.join()
    assert found == [False]


def test_one_folder_is_trained_in_by_one_process(server, tiny_data, tmp_path):
    from taco_kd.errors import UsageError
    from taco_kd.train.folder_lock import held
    from taco_kd.train.processes import Processes

    with held(tmp_path / "run", Processes(torch.device("cpu"))):
        done = server.run(command(tiny_data, tmp_path / "run"), tmp_path)
    assert done["code"] == UsageError.exit_code
    assert "another process is training there; wait for it" in done["said"].splitlines()[-1]
    assert not list(Path(tmp_path / "run").iterdir())
