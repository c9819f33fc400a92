"""``taco-kd prepare`` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taco_kd.data.synthetic import write_scenes


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("raw") / "r", count=12, seed=2)


def test_layout_is_recognised_classes_merged_and_the_folder_is_a_source_again(
    run: Callable[..., Any], raw: Path
) -> None:
    said = run("prepare", "--root", raw, "--size", 64, "--class-map", "taco-10", "--stratify", "--out", "a")
    assert said.code == 0, said.err
    assert f"Recognised {raw}: taco (annotations.json)." in said.err
    assert "Class map" in said.out
    assert "Clear plastic bottle" in said.out
    assert "12 images read" in said.out
    assert {p.name for p in Path("a").iterdir()} >= {
        "README.md", "annotations", "data.yaml", "dataset.json", "duplicates.json", "examples.jpg", "images",
        "labels",
    }  # fmt: skip
    for source in ("coco", "yolo"):
        out = f"again-{source}"
        said = run(
            "prepare", "--root", "a", "--source", source, "--size", 32, "--keep-split", "--out", out, "--json"
        )
        assert said.code == 0, said.err
        first, second = (json.loads((Path(d) / "dataset.json").read_text())["counts"] for d in ("a", out))
        assert [second[s] for s in ("train", "val")] == [first[s] for s in ("train", "val")]
        assert json.loads(said.out)["path"] == out


def test_every_source_is_listed(run: Callable[..., Any]) -> None:
    from taco_kd.data.sources import SOURCES

    listed = {line.split()[0] for line in run("list", "sources").out.splitlines() if line.strip()}
    assert set(SOURCES) <= listed


def test_dry_run_writes_nothing(run: Callable[..., Any], raw: Path) -> None:
    said = run("prepare", "--root", raw, "--dry-run", "--kfold", 3)
    assert said.code == 0, said.err
    assert "12 images with" in said.out
    assert "-> 8 train / 4 val, before duplicates are removed" in said.out
    assert "Nothing was written" in said.out
    assert not list(Path().iterdir())
    plan = json.loads(run("prepare", "--root", raw, "--dry-run", "--json").out)
    assert (plan["source"], plan["images"]) == ("taco", {"train": 10, "val": 2})


def test_former_name_of_ratio_still_works_and_is_not_advertised(run: Callable[..., Any], raw: Path) -> None:
    plan = json.loads(run("prepare", "--root", raw, "--dry-run", "--json", "--train-ratio", 0.5).out)
    assert plan["images"] == {"train": 6, "val": 6}
    assert "--train-ratio" not in run("prepare", "--help").out


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["--root", "nowhere"], 3, "nowhere: no such folder"),
        (["--root", "."], 3, ".: no layout that is known: no annotations.json (TACO)"),
        (["--mode", "squash"], 2, "mode = 'squash': input should be 'stretch' or 'letterbox'"),
        (["--group-by", "colour"], 2, "group_by = 'colour'"),
        (["--kfold", "1"], 2, "kfold = 1"),
        (["--ids", "nope"], 2, "unknown split 'nope': choose one of taco-paper-225"),
        (["--class-map", "nope"], 2, "unknown class map 'nope': choose one of taco-1"),
        (["--keep-split"], 3, "the synthetic source does not say which images are train"),
        (["--keep-split", "--stratify"], 2, "--keep-split and --stratify contradict"),
        (["--ids", "taco-paper-225"], 3, "taco-paper-225: 224 of its 225 images are not in the dataset"),
    ],
)
def test_mistakes_are_one_line(run: Callable[..., Any], words: list[str], code: int, expected: str) -> None:
    said = run("prepare", *words, "--scenes", 4, "--size", 32, "--out", "out")
    assert said.code == code
    assert expected in said.err.splitlines()[-1]
    assert said.out == ""
    assert not list(Path().iterdir())
