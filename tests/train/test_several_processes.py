"""Several processes train what one trains; one that dies, or has other data, ends them all with one line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

equality = pytest.importorskip("equality")  # forks, which Windows does not

HERE = Path(__file__).resolve()
TOLERANCE = 1e-4
"""Of float32: rounding, through three steps of AdamW, which divides small gradients by their size."""
QUICK = [
    "rtdetr-nano, synchronised, 5 on 2",
    "yolo11-nano, one process without objects",
    "nano-matched, no maps, 5 on 3",
]
ROUNDED = {
    "rtdetr-nano, synchronised, bf16": "half precision",
    "rtdetr-nano, frozen, bf16": "half precision",
    "rtdetr-nano, bf16 against float32, alone": "half precision",
    "nano-matched, calibrated": "maps are correlated over the batch of each process",
    "nano-matched, calibrated, float64": "maps are correlated over the batch of each process",
}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HERE.parents[2]), "OMP_NUM_THREADS": "1"}


def found(*names: str) -> dict[str, Any]:
    words = [sys.executable, str(HERE.with_name("equality.py")), *names]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def require_equal(result: dict[str, Any], tolerance: float) -> None:
    assert "failed" not in result, result
    assert result["ranks agree"]
    assert result["skipped"] == 0
    apart = {what: result[what] for what in ("gradients", "weights", "loss")}
    assert all(value < tolerance for value in apart.values()), apart


def test_several_processes_train_what_one_trains():
    answers = found("batch norm", "batch norm, float64", *QUICK)
    assert answers.pop("batch norm") < 1e-5
    assert answers.pop("batch norm, float64") < 1e-13
    for result in answers.values():
        require_equal(result, TOLERANCE)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_in_every_case():
    names = [name for name in equality.CASES if name not in QUICK and name not in ROUNDED]
    for name, result in found(*names).items():
        require_equal(result, 1e-12 if "float64" in name else TOLERANCE)


def test_a_rank_that_dies_is_named_once_and_the_run_goes_on_as_if_nothing_was():
    lost = found("lost")["lost"]
    assert lost["undisturbed"] == [0, 0]
    assert lost["killed"] == [75, -signal.SIGKILL]
    said = [line for text in lost["said"] for line in text.splitlines() if line.startswith("taco-kd:")]
    assert len(said) == 1
    assert re.search(r"rank 1 of 2 ended unexpectedly after step 2 of 4; .* taco-kd train --resume ", said[0])
    assert lost["checkpoints"] == ["000000000", "000000002"]
    assert lost["resumed"] == [0, 0]
    assert lost["same"]


@pytest.mark.slow
def test_other_data_or_settings_in_one_process_are_refused():
    answer = found("differing")
    for what, word in (("data", "dataset"), ("settings", "recipe")):
        codes, texts = answer["differing"][what]
        assert codes == [2, 2]
        said = [line for text in texts for line in text.splitlines() if line.startswith("taco-kd:")]
        assert len(said) == 1
        assert f"the {word} is not the same in all 2 processes" in said[0]


@pytest.fixture
def torchrun(tiny_data, tmp_path):
    """Start two processes as users do; give them back when four steps are in the log."""
    started = []

    def start(steps: int, lines: int = 4) -> tuple[subprocess.Popen[str], Path]:
        out = tmp_path / "run"
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        words += ["-m", "taco_kd", "train", "--data", str(tiny_data), "--out", str(out), "--device", "cpu"]
        words += ["--steps", str(steps), "--image-size", "96", "--set", "train.batch_size=4"]
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment())
        started.append(process)
        log = out / "log.jsonl"
        for _ in range(1200):
            if process.poll() is not None or (log.is_file() and log.read_text().count("\n") >= lines):
                break
            time.sleep(0.1)
        return process, out

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


@pytest.mark.slow
def test_torchrun_asked_to_stop_stops_all_at_one_step(torchrun):
    process, out = torchrun(100_000)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    (said,) = [line for line in errors.splitlines() if line.startswith("taco-kd:")]
    assert re.search(r"stopped at step \d+ of 100000; the same command goes on", said)
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "stopped"
    assert record["steps"] == (out / "log.jsonl").read_text().count("\n")
    process, _ = torchrun(100_000, lines=record["steps"] + 2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert f"going on after step {record['steps']} of 100000" in errors


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("place", [0, 1])
def test_torchrun_of_which_one_is_killed(torchrun, place):
    process, out = torchrun(100_000)
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = {}
    for task in tasks:
        said = Path(f"/proc/{task}/environ").read_bytes().decode().split("\0")
        ranks |= {int(word[5:]): int(task) for word in said if word.startswith("RANK=")}
    os.kill(ranks[place], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("taco-kd:")]
    assert f"rank {place} of 2 ended unexpectedly after step" in line
    assert any((out / "checkpoint").iterdir())
