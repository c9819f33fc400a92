"""The page against records made by the stages that really write them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from taco_kd.bench.projection import Projection
from taco_kd.bench.records import BenchRecord
from taco_kd.evaluate.comparison import compare_runs
from taco_kd.files import read_json, write_json
from taco_kd.report.collect import collect
from taco_kd.report.differences import breakdowns
from taco_kd.report.headline import headline
from taco_kd.report.page import report
from taco_kd.runs import RunDir


def test_comparison_of_the_evaluate_stage(runs: list[RunDir]) -> None:
    comparison = compare_runs(runs, resamples=100)
    found = headline(comparison.to_json(), collect(runs))
    (contrast,) = found.contrasts
    difference = comparison.differences[0]
    assert contrast.estimate == 100 * difference.interval.estimate
    assert contrast.low <= contrast.estimate <= contrast.high
    assert found.lines[0] == difference.words + "."
    assert found.tone == {"not distinguishable": "unclear"}.get(difference.outcome, difference.outcome)
    assert found.axis is not None
    assert 0 < found.axis.at(0) < 100


def seeded(runs: list[RunDir], tmp_path: Path) -> list[RunDir]:
    """Both runs with a second training seed each."""
    found = list(runs)
    for run in runs:
        twin = RunDir(tmp_path / "runs" / f"{run.name}-seed1")
        shutil.copytree(run.path, twin.path)
        record = twin.record()
        record["recipe"]["train"]["seed"] = 1
        twin.write_record(record)
        rows = read_json(twin.predictions_file("val"))
        write_json(twin.predictions_file("val"), [row | {"score": row["score"] * 0.9} for row in rows[::2]])
        found.append(twin)
    return found


def test_arms_of_several_seeds(runs: list[RunDir], tmp_path: Path) -> None:
    four = seeded(runs, tmp_path)
    comparison = compare_runs(four, resamples=100)
    assert [arm.members for arm in comparison.arms] == [
        ("baseline", "baseline-seed1"),
        ("matched", "matched-seed1"),
    ]
    out = report(four, tmp_path / "report.html", comparison=comparison.to_json(), max_images=0)
    html = out.read_text(encoding="utf-8")
    assert "No proof that distillation helped or hurt" in html, (
        "the arms are known to be baseline and distilled"
    )
    assert "nano-baseline: one arm of 2 training seeds" in html
    assert "nano-matched, mean of 2 seeds" in html
    assert "of training seeds (2 an arm, the same in every arm)" in html


def test_parts_of_the_difference(runs: list[RunDir], tmp_path: Path) -> None:
    comparison = compare_runs(runs, resamples=100)
    (found,) = breakdowns(comparison.to_json())
    assert (found.name, found.reference) == ("matched", "baseline")
    assert [row.name for row in found.sizes] == ["small", "medium", "large"]
    present = [part for part in comparison.differences[0].per_class if part.boxes]
    assert [row.name for row in found.classes] == [part.name for part in present]
    for row, part in zip(found.classes, present, strict=True):
        assert row.difference == pytest.approx(100 * (part.ap - part.reference_ap))
        assert row.few == (part.boxes < 10)
    html = report(runs, tmp_path / "r.html", comparison=comparison.to_json(), max_images=0).read_text("utf-8")
    assert "Where the difference comes from" in html
    assert "medium boxes" in html


def test_several_comparisons_show_adjusted_p_values(runs: list[RunDir], tmp_path: Path) -> None:
    third = RunDir(tmp_path / "runs" / "third")
    shutil.copytree(runs[1].path, third.path)
    comparison = compare_runs([*runs, third], resamples=100)
    found = headline(comparison.to_json(), collect([*runs, third]))
    assert [c.p_adjusted for c in found.contrasts] == [d.p_adjusted for d in comparison.differences]
    html = report([*runs, third], tmp_path / "r.html", comparison=comparison.to_json(), max_images=0)
    assert ", adjusted = " in html.read_text("utf-8")
    assert (
        headline(compare_runs(runs, resamples=100).to_json(), collect(runs)).contrasts[0].p_adjusted is None
    )


def test_groups_are_said(runs: list[RunDir], tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("".join(f"{image},{image // 2}\n" for image in range(14)))
    comparison = compare_runs(runs, resamples=100, group_by=str(groups)).to_json()
    html = report(runs, tmp_path / "r.html", comparison=comparison, max_images=0).read_text("utf-8")
    assert "Images were resampled in 7 whole groups" in html


def test_names_of_runs_in_folders_of_one_name(runs: list[RunDir], tmp_path: Path) -> None:
    """Both stages have to give them the same names, or the intervals would find no arm."""
    moved = []
    for run in runs:
        folder = tmp_path / f"of-{run.name}" / "run"
        folder.parent.mkdir()
        moved.append(RunDir(run.path.rename(folder)))
    comparison = compare_runs(moved, resamples=100).to_json()
    assert [arm.name for arm in collect(moved)] == [arm["name"] for arm in comparison["arms"]]
    assert [arm.name for arm in collect(runs[:0] + moved[:1])] == ["run"]


def test_record_of_the_bench_stage(runs: list[RunDir], tmp_path: Path) -> None:
    record = BenchRecord(
        model="rtdetr-nano",
        weights_sha256="00" * 32,
        backend="torch eager",
        device="Some CPU",
        precision="fp32",
        batch=1,
        image_size=320,
        scope="e2e",
        threads=2,
        images="synthetic",
        times_ms=(10.0, 11.0, 12.0, 13.0, 14.0),
        warm_up_iterations=3,
        stable=True,
        parameters={"all": 2_500_000, "trainable": 2_500_000, "buffers": 0},
        gmacs=2.0,
        gflops=4.0,
        uncounted=(),
        projected=(Projection("Tesla T4", "TensorRT fp16", 1.5, (1.1, 1.9), "a line"),),
    )
    write_json(runs[0].bench_file, {"records": [record.to_json()]})
    html = report(runs[:1], tmp_path / "report.html", max_images=0).read_text(encoding="utf-8")
    for words in ("Some CPU", "end to end", "12.0", "Tesla T4, TensorRT fp16", "≈ 1.50", "2.50 M", "4.00"):
        assert words in html, words
