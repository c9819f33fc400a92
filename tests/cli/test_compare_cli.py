"""``taco-kd compare`` as typed, on results files of any tool."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from taco_kd.cli import main

SIDE = 200


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gt.json with scenes of two images each, and results a0, a1, b0, b1 of two detectors with two seeds."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    boxes = [
        {
            "id": k,
            "image_id": k // 2,
            "category_id": int(rng.integers(3)),
            "bbox": [*rng.uniform(0, 120, 2).round(2).tolist(), *rng.uniform(15, 80, 2).round(2).tolist()],
            "iscrowd": 0,
        }
        for k in range(80)
    ]
    truth = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "original_file_name": f"batch_{i // 2}/{i}.jpg"}
            | {"width": SIDE, "height": SIDE}
            for i in range(40)
        ],
        "categories": [{"id": c, "name": name} for c, name in enumerate(("can", "cup", "lid"))],
        "annotations": boxes,
    }
    Path("gt.json").write_text(json.dumps(truth))
    for seed, (name, jitter) in enumerate((("a0", 0.12), ("a1", 0.12), ("b0", 0.02), ("b1", 0.02))):
        rng = np.random.default_rng(seed)
        rows = []
        for box in boxes:
            x, y, w, h = box["bbox"]
            dx, dy = rng.normal(0, jitter, 2)
            moved = [x + dx * w, y + dy * h, w, h]
            score = round(float(rng.beta(4, 2)), 4)
            rows.append({k: box[k] for k in ("image_id", "category_id")} | {"bbox": moved, "score": score})
        Path(f"{name}.json").write_text(json.dumps(rows))


def typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``taco-kd compare`` with the words of ``line``."""
    monkeypatch.setattr(sys, "argv", ["taco-kd", "compare", *line.split()])
    with pytest.raises(SystemExit) as stopped:
        main()
    found = capsys.readouterr()
    return int(stopped.value.code or 0), found.out, found.err


def test_two_files(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = typed(
        capsys,
        monkeypatch,
        "a0.json b0.json --annotations gt.json --resamples 200 --plan 2 --per-class --out c.json",
    )
    assert code == 0, err
    assert "b0 is better than a0 by" in out
    assert "bias" in out
    assert "To find a true difference of 2 AP points" in out
    assert "least difference at 80 % power" in out
    assert "exploratory, not corrected" in out
    for name in ("small", "medium", "can", "cup", "lid"):
        assert name in out
    assert "not written in results files" in err
    record = json.loads(Path("c.json").read_text())
    assert {part["name"] for part in record["differences"][0]["per_class"]} == {"can", "cup", "lid"}
    assert record["differences"][0]["interval"]["bca"]
    assert record["differences"][0]["interval"]["basic"]


def test_arms_of_seeds_groups_and_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = typed(
        capsys,
        monkeypatch,
        "--arm a=a0.json,a1.json --arm b=b0.json,b1.json --annotations gt.json --group-by batch "
        "--resamples 200 --interval basic --json",
    )
    assert code == 0, err
    record = json.loads(out)
    assert [(arm["name"], len(arm["seeds"])) for arm in record["arms"]] == [("a", 2), ("b", 2)]
    assert (record["groups"], record["group_by"]) == (20, "batch")
    assert record["differences"][0]["interval"]["method"] == "basic"
    assert record["differences"][0]["p_seeds"] is not None


def test_three_models_are_corrected(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = typed(
        capsys, monkeypatch, "a0.json a1.json b0.json --annotations gt.json --resamples 200 --all-pairs"
    )
    assert code == 0
    assert "p adjusted (Holm)" in out
    assert "adjusted = " in out or "adjusted < " in out
    assert "b0 - a1" in out


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("a0.json", 2, "compare needs at least two"),
        ("a0.json b0.json", 2, "add --annotations GROUND_TRUTH.json"),
        ("a0.json gone.json --annotations gt.json", 3, "gone.json: no such file"),
        ("a0.json gone --annotations gt.json", 3, "gone: not a run folder"),
        ("a0.json empty.json --annotations gt.json", 3, "empty.json: an empty list"),
        ("a0.json nan.json --annotations gt.json", 3, "nan.json: 0.score = nan"),
        ("a0.json other.json --annotations gt.json", 3, "other.json: 0: image_id = 900"),
        (
            "a0.json twice.json --annotations gt.json",
            3,
            "twice.json: 80: the same image, class, box and score",
        ),
        ("a0.json b0.json --annotations a0.json", 3, "a0.json: holds a list"),
        ("a0.json b0.json --annotations gt.json --plan -1", 2, "plan for -1 AP points: must be above 0"),
        ("a0.json b0.json --annotations gt.json --interval t", 2, "unknown interval 't': choose one of bca"),
        ("a0.json b0.json --annotations gt.json --areas big", 2, "unknown areas 'big'"),
        (
            "a0.json b0.json --annotations gt.json --group-by shot",
            2,
            "--group-by shot: not a key of the image",
        ),
        ("--arm a=a0.json,. --arm b=b0.json --annotations gt.json", 2, "not both in one arm"),
        ("--arm a0.json --arm b=b0.json --annotations gt.json", 2, "write it as NAME=PATH"),
    ],
)
def test_bad_input_gets_one_line(
    line: str, code: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = json.loads(Path("a0.json").read_text())
    Path("empty.json").write_text("[]")
    Path("nan.json").write_text(json.dumps([rows[0] | {"score": float("nan")}, *rows[1:]]))
    Path("other.json").write_text(json.dumps([row | {"image_id": 900} for row in rows]))
    Path("twice.json").write_text(json.dumps(rows + rows))
    found, out, err = typed(capsys, monkeypatch, line)
    assert found == code, err
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert err.strip().count("\n") == 0


def test_files_need_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    import subprocess

    code = (
        "import sys; sys.argv = ['taco-kd', 'compare', 'a0.json', 'b0.json', '--annotations', 'gt.json', "
        "'--resamples', '100']\nfrom taco_kd.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stopped:\n    assert not stopped.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
