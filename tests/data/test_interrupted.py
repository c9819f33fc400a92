"""A preparation that is killed at any file operation and started again ends as if nothing had happened."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taco_kd.config import PrepareConfig
from taco_kd.data.prepare import prepare
from taco_kd.data.staging import folder_that_becomes, recover
from taco_kd.data.synthetic import write_scenes

fcntl = pytest.importorskip("fcntl")  # Windows cannot lock folders

# Prepares argv[1] in argv[2]; kills itself at file operation number argv[3] in or beside argv[2].
CHILD = """
import os, signal, sys
from pathlib import Path
from taco_kd.config import PrepareConfig
from taco_kd.data.prepare import prepare
raw, out, limit, overwrite = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
count, exchanges = 0, []
def hook(event, args):
    global count
    watched = event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir")
    if watched and str(out.parent) in str(args[0]):
        count += 1
        if event == "os.rename" and str(out) in map(str, args[:2]):
            exchanges.append(count)
        if count == limit:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
prepare(PrepareConfig(root=raw, size=64), out, overwrite=overwrite)
print(count, *exchanges)
"""


def contents(folder: Path) -> dict[str, str]:
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.rglob("*"))
        if f.is_file()
    }


def run(raw: Path, out: Path, limit: int, overwrite: bool) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", CHILD, str(raw), str(out), str(limit), str(overwrite)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("count", [1, pytest.param(25, marks=pytest.mark.slow)])
def test_killed_and_run_again_gives_the_same_bytes(tmp_path: Path, overwrite: bool, count: int) -> None:
    raw = write_scenes(tmp_path / "raw", count=8, seed=3, near_duplicates=1, exif_turned=1)
    config = PrepareConfig(root=raw, size=64)
    folder = tmp_path / "out"
    folder.mkdir()
    old = prepare(config.model_copy(update={"seed": 9}), tmp_path / "old").path if overwrite else None

    def fresh() -> Path:
        shutil.rmtree(folder)
        folder.mkdir()
        if old is not None:
            shutil.copytree(old, folder / "data")
        return folder / "data"

    whole = run(raw, fresh(), 0, overwrite)
    assert whole.returncode == 0, whole.stderr
    undisturbed = contents(folder / "data")
    total, *exchanges = map(int, whole.stdout.split())
    assert len(exchanges) == (2 if overwrite else 1)
    # At random, and where one folder takes the place of the other: just before the last rename and after it.
    points = [*random.Random(overwrite).sample(range(2, total), count), exchanges[-1], exchanges[-1] + 1]
    for point in points:
        out = fresh()
        killed = run(raw, out, point, overwrite)
        assert killed.returncode == -signal.SIGKILL, (point, total, killed.stderr)
        prepare(config, out, overwrite=overwrite)
        assert contents(out) == undisturbed, point
        assert [p.name for p in folder.iterdir()] == ["data"], point


def test_old_dataset_comes_back_if_killed_between_the_renames(tmp_path: Path) -> None:
    workshop = tmp_path / ".data.partial-abc"
    (workshop / "old").mkdir(parents=True)
    (workshop / "old/kept").write_text("x")
    (workshop / "new").mkdir()
    recover(tmp_path / "data")
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    assert (tmp_path / "data/kept").read_text() == "x"


def test_work_in_progress_of_another_process_is_left_alone(tmp_path: Path) -> None:
    workshop = tmp_path / ".data.partial-abc"
    workshop.mkdir()
    holder = os.open(workshop, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with folder_that_becomes(tmp_path / "data") as new:
        (new / "file").write_text("x")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".data.partial-abc", "data"]
    os.close(holder)
    recover(tmp_path / "data")
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_neighbours_with_similar_names_are_left_alone(tmp_path: Path) -> None:
    for name in (".other.partial-1", "data.partial-1", ".data[1].partial-1"):
        (tmp_path / name).mkdir()
    recover(tmp_path / "data")
    assert len(list(tmp_path.iterdir())) == 3
    recover(tmp_path / "data[1]")
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / ".data.partial-mine").mkdir()
    (tmp_path / ".data.partial-mine/thesis.txt").write_text("x")
    recover(tmp_path / "data")
    assert (tmp_path / ".data.partial-mine/thesis.txt").is_file()
