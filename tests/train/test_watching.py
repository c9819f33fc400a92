"""The live view, and what follows a run from outside."""

import io
import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from taco_kd.files import write_json, write_text
from taco_kd.runs import RunDir
from taco_kd.train import live
from taco_kd.train.evaluations import Evaluated
from taco_kd.train.follow import Follower, runs_below
from taco_kd.train.live import live_view
from taco_kd.train.liveness import life_of, this_process
from taco_kd.train.loop import StepRecord
from taco_kd.train.observers import Begin
from taco_kd.train.pace import KEPT, Curve, Pace, clock
from taco_kd.train.plots import plot, sparkline
from taco_kd.train.watch_view import line, view


def step(number, **more):
    values = {
        **{"step": number, "loss": 10.0 / number, "lr": 1e-3, "grad_norm": 1.0, "images_per_s": 40.0},
        **{"terms": {"box": 6.0 / number, "cls": 4.0 / number}, "raw": {}, "weights": {}, "pairs": 0},
        **{"gradient_shares": None, "data_wait_s": 0.1, "step_s": 0.4, "memory_mb": 1234.0},
        **{"skipped": False, "micro_batch": 16, "quarantined": ()},
    }
    return StepRecord(**{**values, **more})


def write_log(run, steps, tail=""):
    lines = [json.dumps(vars(step(n)) | {"gradient_shares": None}) + "\n" for n in steps]
    write_text(run.log_file, "".join(lines) + tail)


@pytest.fixture
def run(tmp_path):
    run = RunDir(tmp_path / "runs" / "mine")
    record = {
        "status": "running",
        "kind": "train",
        "steps_total": 50,
        "recipe": {"train": {"batch_size": 16}},
    }
    run.path.mkdir(parents=True)
    run.write_record({**record, "process": this_process()})
    return run


def shown(states, width=90):
    console = Console(width=width, color_system=None)
    with console.capture() as caught:
        console.print(view(states, width))
    return caught.get()


class TestPace:
    def test_figures(self):
        pace = Pace(whole=50)
        for number in range(1, 11):
            pace.add(vars(step(number)))
        pace.add(vars(step(11, loss=None, skipped=True, quarantined=("a.jpg",))))
        pace.evaluated(5, 0.3)
        pace.evaluated(10, 0.2)
        assert pace.step_s == pytest.approx(0.4)
        assert pace.waiting == pytest.approx(0.25)
        assert pace.images_per_s == pytest.approx(40.0)
        assert pace.seconds_left() == pytest.approx(39 * 0.4)
        assert pace.best == (5, 0.3)
        assert pace.last_ap == (10, 0.2)
        assert dict(pace.figures()) == {
            "loss": "2.93",  # the mean of ten
            "lr": "0.001",
            "images/s": "40",
            "data wait": "25 %",
            "memory": "1,234 MB",
            "AP": "20.0 at 10",
            "best": "30.0 at 5",
            "skipped": "1",
            "unreadable": "1",
        }

    def test_lines_of_older_runs_lack_the_times(self):
        pace = Pace(whole=100, batch_size=16)
        old = {k: v for k, v in vars(step(4)).items() if k in ("step", "loss", "lr", "images_per_s", "terms")}
        pace.add(old)
        assert pace.seconds_left() == pytest.approx(96 * 16 / 40)
        assert pace.waiting is None
        assert "memory" not in dict(pace.figures())

    def test_both_stages_count(self):
        pace = Pace(offset=30, whole=50)
        pace.add(vars(step(5)))
        assert pace.step == 35
        assert pace.seconds_left() == pytest.approx(15 * 0.4)

    def test_a_curve_stays_small(self):
        curve = Curve()
        for number in range(10 * KEPT):
            curve.add(number, float(number))
        assert KEPT // 2 <= len(curve.values) <= KEPT
        assert curve.steps == sorted(curve.steps)
        assert curve.steps[-1] > 9.9 * KEPT

    def test_clock(self):
        assert [clock(s) for s in (0, 59.6, 3600, 90_000, None)] == [
            "0:00",
            "1:00",
            "1:00:00",
            "1 d 1:00:00",
            "?",
        ]


class TestPlots:
    @given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60), st.integers(2, 40), st.integers(1, 9))
    @settings(max_examples=40, deadline=None)
    def test_any_curve_fits(self, values, width, height):
        lines = plot(range(len(values)), values, width=width, height=height)
        assert len(lines) == height + 2
        margin = lines[-2].index("└")
        assert all(len(row) <= margin + 1 + width for row in lines[:height])
        assert any(c > "\u2800" for row in lines[:height] for c in row[margin + 1 :])
        assert 0 < len(sparkline(values, width)) <= width

    def test_values_that_are_not_finite_are_left_out(self):
        assert plot([1, 2], [float("nan"), float("inf")]) == []
        assert sparkline([float("nan"), 1.0, 2.0]) == "▁█"

    def test_highest_and_lowest_stand_at_the_axis(self):
        lines = plot([0, 10], [1.5, 2.5], width=10, height=3)
        assert lines[0].startswith("2.5 ┤")
        assert lines[2].startswith("1.5 ┤")
        assert lines[-1].split() == ["0", "10"]


class TestFollowing:
    def test_a_running_one(self, run):
        write_log(run, range(1, 11))
        write_text(run.evaluations_file, '{"step": 5, "ap": 0.25, "best": true}\n')
        state = Follower(run.path).look()
        assert (state.status, state.words) == ("running", "running, step 10 of 50")
        found = state.to_json()
        assert (found["step"], found["steps_total"], found["ap"], found["best_step"]) == (10, 50, 0.25, 5)
        assert found["seconds_left"] == pytest.approx(16.0)
        text = shown([state])
        assert "loss over steps" in text
        assert "AP over steps" in text
        assert "0:16 left" in text

    def test_a_half_written_line_is_waited_for(self, run):
        whole = json.dumps(vars(step(4)))
        write_log(run, [1, 2, 3], tail=whole[:20])
        follower = Follower(run.path)
        assert follower.look().pace.step == 3
        with run.log_file.open("a") as log:
            log.write(whole[20:] + "\n")
        state = follower.look()
        assert state.pace.step == 4
        assert state.pace.losses.steps == [1, 2, 3, 4]

    def test_a_log_cut_by_a_resume_is_read_anew(self, run):
        write_log(run, range(1, 21))
        follower = Follower(run.path)
        assert follower.look().pace.step == 20
        write_log(run, range(1, 13))  # another file in its place, as a resume leaves it
        state = follower.look()
        assert state.pace.step == 12
        assert state.pace.losses.steps == list(range(1, 13))
        with run.log_file.open("a") as log:
            log.write(json.dumps(vars(step(13))) + "\n")
        assert follower.look().pace.losses.steps == list(range(1, 14))

    def test_lines_of_something_else_are_passed_over(self, run):
        write_text(run.log_file, '[1]\n"x"\n{"step": "3"}\n\x00\x00\n' + json.dumps(vars(step(2))) + "\n")
        assert Follower(run.path).look().pace.step == 2

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            ("stopped", "stopped at step 7 of 50; go on with: taco-kd train --resume"),
            ("finished", "finished after 7 steps; ended early"),
        ],
    )
    def test_one_that_ended(self, run, status, words):
        write_log(run, range(1, 8))
        run.write_record({**run.record(), "status": status, "stopped_early": status == "finished"})
        state = Follower(run.path).look()
        assert state.status == status
        assert state.ended
        assert state.words.startswith(words)

    def test_one_that_was_killed(self, run):
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        write_log(run, range(1, 8))
        process = {"host": socket.gethostname(), "pid": gone.pid, "started": 0.0}
        run.write_record({**run.record(), "kind": "distill", "process": process})
        state = Follower(run.path).look()
        assert state.status == "killed"
        assert state.words == f"killed at step 7 of 50; go on with: taco-kd distill --resume {run.path}"
        assert "killed at step 7" in line(state)

    def test_another_process_of_that_number_is_not_it(self, run):
        assert life_of({"process": this_process()}, run.log_file, 0.1) == "alive"
        other = {"process": {**this_process(), "started": 1.0}}
        assert life_of(other, run.log_file, 0.1) == "gone"

    def test_one_on_another_machine_is_told_by_its_log(self, run):
        record = {"process": {"host": "elsewhere", "pid": 1, "started": 0.0}}
        write_log(run, [1])
        assert life_of(record, run.log_file, 0.1) == "unknown"
        os.utime(run.log_file, (1, 1))
        assert life_of(record, run.log_file, 0.1) == "silent"
        run.write_record({**run.record(), **record})
        assert "nothing was written for minutes" in Follower(run.path).look().words

    def test_both_stages_of_a_run(self, run):
        first = RunDir(run.path / "pretrain")
        first.path.mkdir()
        first.write_record({**run.record(), "steps_total": 30})
        write_log(first, range(1, 11))
        follower = Follower(run.path)
        state = follower.look()
        assert (state.stage, state.pace.step, state.pace.whole) == ("pretrain", 10, 80)
        first.write_record({**first.record(), "status": "finished", "steps": 30})
        write_log(run, range(1, 5))
        state = follower.look()
        assert (state.stage, state.pace.step, state.pace.whole) == ("", 34, 80)
        assert runs_below(run.path.parent) == [run.path]

    def test_nothing_yet_and_many(self, run, tmp_path):
        empty = Follower(tmp_path / "nothing")
        assert empty.look().status == "waiting"
        write_log(run, range(1, 4))
        other = RunDir(run.path.parent / "other")
        other.path.mkdir()
        other.write_record({**run.record(), "status": "stopped"})
        states = [Follower(path).look() for path in runs_below(run.path.parent)]
        text = shown(states, 120)
        assert "3/50" in text
        assert "stopped" in text
        assert "--resume" in text


class TestLive:
    @pytest.fixture
    def clocked(self, monkeypatch):
        """A console that is a file or a terminal, and a clock that is set by hand."""
        now = SimpleNamespace(seconds=0.0)
        monkeypatch.setattr(live.time, "monotonic", lambda: now.seconds)

        def use(terminal):
            console = Console(
                file=io.StringIO(),
                force_terminal=terminal,
                width=100,
                color_system=None,
            )
            monkeypatch.setattr(live, "console", console)
            monkeypatch.setattr(live, "notice", lambda text: console.print(text, soft_wrap=True))
            return console

        return now, use

    def test_a_file_gets_a_line_now_and_then(self, clocked, run):
        now, use = clocked
        console = use(False)
        with live_view("mine") as shown_live:
            shown_live.begin(Begin(run, {}, 0, 400, 0, 400))
            for number in range(1, 401):
                now.seconds += 1.0
                shown_live(number, 400, "loss 1")
                shown_live.on_step(step(number))
            shown_live.on_evaluated(Evaluated(400, 0.31, 0.5, 20, 1.0, "", True))
        lines = console.file.getvalue().splitlines()
        assert lines[0].startswith("mine: 30/400, loss ")
        assert lines[0].endswith("6:10 left")
        assert 8 <= len(lines) <= 14
        assert lines[-2:] == ["mine: step 400: AP 31.0 on 20 images, the best so far", "mine: 400/400"]

    def test_a_short_run_is_one_line_in_a_file(self, clocked, run):
        now, use = clocked
        console = use(False)
        with live_view("mine") as shown_live:
            shown_live(0, 1, "teacher gate 3/20")
            shown_live.begin(Begin(run, {}, 0, 10, 0, 10))
            for number in range(1, 11):
                now.seconds += 0.5
                shown_live.on_step(step(number))
        assert console.file.getvalue() == "mine: 10/10\n"

    def test_a_terminal_shows_it_all(self, clocked, run):
        now, use = clocked
        console = use(True)
        with live_view("mine") as shown_live:
            shown_live(0, 1, "teacher gate 3/20")
            shown_live.begin(Begin(run, {}, 0, 10, 30, 40))
            for number in range(1, 6):
                now.seconds += 2.0
                shown_live.on_step(step(number))
            shown_live.on_evaluated(Evaluated(5, 0.31, 0.5, 20, 1.0, "", True))
        text = console.file.getvalue()
        for words in ("35/40", "0:10, 0:10 left", "images/s 40", "data wait 25 %", "memory 1,234 MB"):
            assert words in text
        assert "AP 31.0 at 35" in text
        assert "box 1.2   cls 0.8" in text

    def test_a_resumed_run_knows_its_evaluations(self, clocked, run):
        _, use = clocked
        console = use(True)
        write_json(run.evaluations_file, {"step": 3, "ap": 0.4}, indent=None)
        with live_view("mine") as shown_live:
            shown_live.begin(Begin(run, {}, 5, 10, 0, 10))
            shown_live.on_step(step(6))
        assert "AP 40.0 at 3" in console.file.getvalue()
