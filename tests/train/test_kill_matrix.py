"""A run that is killed anywhere and goes on ends as if nothing had happened."""

from __future__ import annotations

import sys
from pathlib import Path

import killing
import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(__import__("os"), "fork") or sys.platform == "darwin", reason="fork"
)


def require_identical(outcomes: list[killing.Outcome]) -> None:
    bad = [f"{each.where} ({each.how}): {each.why}" for each in outcomes if not each.good]
    assert not bad, "\n".join(bad)


def number_of(matrix: killing.Matrix, name: str, which: int = 0) -> int:
    found = [number for number, point in enumerate(matrix.points, start=1) if point.startswith(name)]
    return found[which]


def test_killed_inside_a_step_and_inside_the_write(server, tiny_data, tmp_path):
    matrix = killing.Matrix(server, killing.CASES[2], tiny_data, tmp_path / "matrix")
    half = number_of(matrix, "inside write run/checkpoint/", 2)
    update = number_of(matrix, "after optimizer.step", 2)
    line = number_of(matrix, "inside write run/log.jsonl", 3)
    outcomes = [
        matrix.killed([{"point": half}], by_flag=True),
        matrix.killed([{"point": update}, {"point": line - update}], by_flag=False),
    ]
    require_identical(outcomes)


def test_killed_before_its_record_is_written(server, tiny_data, tmp_path):
    matrix = killing.Matrix(server, killing.CASES[1], tiny_data, tmp_path / "matrix")
    write = number_of(matrix, "inside write run/.run.json")
    named = number_of(matrix, "os.rename run/.run.json")
    outcomes = [
        matrix.killed([{"point": write}], by_flag=False),
        matrix.killed([{"point": named}, {"point": named}], by_flag=False),
    ]
    require_identical(outcomes)
    other = tmp_path / "other"
    (other / ".run.json.abcdefgh.tmp").mkdir(parents=True)
    (other / "mine.txt").write_text("mine")
    done = server.run([*matrix.case.command(tiny_data, tmp_path)[:-1], str(other)], other)
    assert done["code"] == 2
    assert "is not empty and holds no run of ours" in done["said"]
    assert (other / "mine.txt").read_text() == "mine"


def test_killed_when_its_record_says_that_it_is_finished(server, tiny_data, tmp_path):
    case = next(case for case in killing.CASES if "best" in case.name)
    matrix = killing.Matrix(server, case, tiny_data, tmp_path / "matrix")
    record = number_of(matrix, "os.rename run/.run.json", -1)
    require_identical([matrix.killed([{"point": record + 1}], by_flag=True)])


@pytest.mark.slow
def test_killed_while_it_clears_an_old_run(server, tiny_data, tmp_path):
    case = killing.Case("new", ["train", "--steps", "1", "--overwrite"])
    matrix = killing.Matrix(server, case, tiny_data, tmp_path / "matrix")
    run = matrix.folder / "run"
    server.run([*case.command(tiny_data, matrix.folder), "--seed", "5"], run)
    other = killing.left(run)
    assert other["log.jsonl"] != matrix.undisturbed["log.jsonl"]
    killed = matrix.start(signals={"os.remove run/log.jsonl": "SIGKILL"})
    assert killed["code"] == -9
    assert killing.left(run)["run.json"]["status"] == "beginning"
    done = server.run(matrix.case.resume(matrix.folder), run)
    assert done["code"] == 0, done["said"]
    assert killing.left(run) == matrix.undisturbed


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", killing.CASES, ids=lambda case: case.name)
def test_killed_at_many_points(server, tiny_data, tmp_path, case):
    matrix = killing.Matrix(server, case, tiny_data, tmp_path / "matrix")
    require_identical(list(matrix.outcomes(40, seed=1)))


@pytest.mark.slow
def test_damaged_checkpoints_through_the_command_line(server, tiny_data, tmp_path):
    matrix = killing.Matrix(server, killing.CASES[0], tiny_data, tmp_path / "matrix")
    run = matrix.folder / "run"
    killed = number_of(matrix, "before EMA", 2)

    def damage(*places: int) -> list[Path]:
        server.run([*matrix.case.command(tiny_data, matrix.folder), "--overwrite"], run, point=killed)
        files = sorted((run / "checkpoint").iterdir(), reverse=True)
        assert [f.name[:9] for f in files] == ["000000002", "000000001"]
        for place in places:
            content = bytearray(files[place].read_bytes())
            content[len(content) // 3] ^= 64
            files[place].write_bytes(content)
        return files

    files = damage(0)
    done = server.run(matrix.case.resume(matrix.folder), run)
    assert done["code"] == 0, done["said"]
    assert f"{files[0]}: damaged (" in done["said"]
    assert "going on after step 1 of 4." in done["said"]
    assert killing.left(run) == matrix.undisturbed
    for gone in (False, True):
        for file in damage(0, 1):
            if gone:
                file.unlink()
        done = server.run(matrix.case.resume(matrix.folder), run)
        assert done["code"] == 3, done["said"]
        assert "start anew with --overwrite" in done["said"].splitlines()[-1]
