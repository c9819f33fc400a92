"""Files that are whole or not there."""

import pytest

from taco_kd.errors import DataError, UsageError
from taco_kd.files import read_json, replacing, sha256_file, sha256_json, write_json
from taco_kd.runs import DataDir, RunDir, claim


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def write_half():
        with replacing(path) as aside:
            aside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert read_json(path) == {"old": 1}
    assert [f.name for f in tmp_path.iterdir()] == ["a.json"]


def test_hashes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x").startswith("ba7816bf")
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b"{", r"not valid JSON \(line 1"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        (b"[" * 100_000, "not usable JSON|not valid JSON"),
        (b"1" * 5000, "not usable JSON"),
    ],
)
def test_bad_json_is_one_line_with_the_name(tmp_path, content, says):
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=says) as raised:
        read_json(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_byte_order_mark_is_fine(tmp_path):
    (tmp_path / "bom.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "bom.json") == {"a": 1}


def test_claim(tmp_path):
    claim(tmp_path / "new", record_name="r.json", overwrite=False, what="run")
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "r.json").write_text("{}")
    with pytest.raises(UsageError, match=r"already holds another run.*--overwrite"):
        claim(ours, record_name="r.json", overwrite=False, what="run")
    claim(ours, record_name="r.json", overwrite=True, what="run")
    assert not ours.exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        claim(tmp_path / "file", record_name="r.json", overwrite=True, what="run")


def test_folders_that_are_not_ours_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no dataset\.json.*taco-kd prepare"):
        DataDir.open(tmp_path)
    with pytest.raises(DataError, match=r"no run\.json.*taco-kd train"):
        RunDir.open(tmp_path)


def test_a_log_line_cut_by_a_crash_is_left_out(tmp_path):
    run = RunDir(tmp_path)
    run.log_file.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [line["step"] for line in run.log()] == [1, 2]
