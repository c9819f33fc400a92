"""The page against records made by the stages that really write them."""

from __future__ import annotations

from pathlib import Path

from taco_kd.bench.projection import Projection
from taco_kd.bench.records import BenchRecord
from taco_kd.evaluate.comparison import compare_runs
from taco_kd.files import write_json
from taco_kd.report.collect import collect
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
