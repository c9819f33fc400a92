"""A disk that fills up during a run: one line, nothing half-written, and with room the run goes on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from taco_kd.disk import room_for
from taco_kd.errors import DiskFullError
from taco_kd.files import replacing, sweep, write_json

killing = pytest.importorskip("killing")

ROOM_MB = 100


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A file system of its own with little room; needs root, on Linux."""
    folder = tmp_path_factory.mktemp("disk") / "mounted"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_MB}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        pytest.skip("there is no mount here")
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small disk here ({done.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def command(data, out):
    words = ["train", "--data", str(data), "--out", str(out), *killing.SMALL, "--steps", "3"]
    return [*words, "--set", "train.ema_decay=0.5", *killing.EVERY_STEP]


def fill(disk: Path, leave_bytes: int) -> Path:
    filler = disk / "filler"
    with filler.open("wb") as stream:
        stream.write(bytes(max(0, shutil.disk_usage(disk).free - leave_bytes)))
    return filler


@pytest.mark.slow
def test_a_run_on_a_full_disk_goes_on_with_room(server, small_disk, tiny_data, tmp_path):
    """The first checkpoint is of 13 MB, the others, with the averages of the optimiser, of 26 MB."""
    done = server.run(command(tiny_data, tmp_path / "run"), tmp_path)
    assert done["code"] == 0, done["said"]
    undisturbed = killing.left(tmp_path / "run")
    out = small_disk / "run"
    for leave_mb, place in ((10, "000000000"), (45, "000000002")):
        filler = fill(small_disk, leave_mb << 20)
        done = server.run(command(tiny_data, out), out)
        last = done["said"].splitlines()[-1]
        assert done["code"] == 1, last
        assert f"{out}/checkpoint/{place}: no room on the disk (it needs " in last
        assert not [f for f in out.rglob("*") if f.name.endswith(".tmp")]
        assert [killing.sound(f) for f in (out / "checkpoint").iterdir()] == [True] * (leave_mb == 45)
        filler.unlink()
    done = server.run(command(tiny_data, out), out)
    assert done["code"] == 0, done["said"]
    assert killing.left(out) == undisturbed
    shutil.rmtree(out)


def test_a_log_line_is_whole_or_not_there(small_disk):
    from taco_kd.train.log_file import LogFile

    path = small_disk / "log.jsonl"
    with LogFile(path) as log:
        log.write({"step": 1})
        filler = fill(small_disk, 0)
        with pytest.raises(DiskFullError, match=r"log\.jsonl: no room on the disk \(it needs 2[0-9] kB and "):
            log.write({"step": 2, "text": "x" * 20000})
        assert path.read_text() == '{"step": 1}\n'
        filler.unlink()
        log.write({"step": 2})
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_record_is_the_old_one_or_the_new_one(small_disk):
    path = small_disk / "run.json"
    write_json(path, {"old": 1})
    filler = fill(small_disk, 0)
    with pytest.raises(DiskFullError, match=r"run\.json: no room on the disk \(it needs 100 kB and 0 B are"):
        write_json(path, "x" * 100_000)
    filler.unlink()
    assert path.read_text() == '{\n "old": 1\n}\n'
    assert sorted(f.name for f in small_disk.iterdir()) == ["log.jsonl", "run.json"]


def test_a_quota_is_told_like_a_full_disk(server, tiny_data, tmp_path):
    """The same without root: no file may be larger than 4 MB."""
    done = server.run(command(tiny_data, tmp_path / "run"), tmp_path, file_bytes=4 << 20)
    assert done["code"] == 1, done["said"]
    assert "checkpoint/000000000: no room on the disk (it needs 13." in done["said"].splitlines()[-1]
    assert not list(tmp_path.rglob("*.tmp"))


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), room_for(tmp_path):
        (tmp_path / "none").read_bytes()


def test_leftovers_are_swept_and_work_of_others_is_not(tmp_path):
    (tmp_path / ".run.json.a1b2c3d4.tmp").mkdir()
    (tmp_path / ".run.json.a1b2c3d4.tmp/run.json").write_text("half")
    (tmp_path / ".mine.tmp").write_text("x")
    with replacing(tmp_path / "run.json") as aside:
        aside.write_text("whole")
        sweep(tmp_path)
        assert aside.is_file()
    assert sorted(f.name for f in tmp_path.iterdir()) == [".mine.tmp", "run.json"]
    sweep(tmp_path / "none")
