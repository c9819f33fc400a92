"""The page: what it says, that it stands alone, and that no record can break it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from taco_kd.errors import DataError, UsageError
from taco_kd.files import read_json, write_json
from taco_kd.report.page import report
from taco_kd.runs import DataDir, RunDir

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Tags, text outside scripts and styles, and a check that every element is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> in the wrong place"

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag and all(a.get(k) == v for k, v in attributes.items())]

    def classed(self, tag: str, name: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag and name in (a.get("class") or "").split()]


def page_of(runs: list[RunDir], tmp_path: Path, **options: Any) -> Page:
    out = report(runs, tmp_path / "report.html", **options)
    page = Page(out.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def test_opens_with_the_verdict_and_shows_the_numbers(
    runs: list[RunDir], tmp_path: Path, compare: Callable[..., Any]
) -> None:
    page = page_of(runs, tmp_path, comparison=compare("baseline", "matched"), title="Litter")
    text = page.text
    assert text.index("No proof that distillation helped or hurt") < text.index("What was compared")
    assert "the sentence of the comparison" in text
    assert "+1.2 [−0.9, +3.3] p = 0.24" in text
    for figure in ("22.3", "23.5", "46.8", "41.0", "[39.8, 42.2]", "≈ 1.41", "2.41 M", "3.92"):
        assert figure in text, figure
    assert "Test CPU, 2 threads" in text
    assert "model alone (tensor in, raw outputs out), torch eager fp32, batch 1, 320 px, 2 threads" in text
    assert "before training 2.1" in text
    assert "not the training seed" in text
    assert page.classed("header", "unclear")


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("better", "Distillation helped, by 3.1 AP points"),
        ("worse", "Distillation hurt, by 2.7 AP points"),
    ],
)
def test_verdict_has_the_tone_of_its_outcome(
    outcome: str, words: str, runs: list[RunDir], tmp_path: Path, compare: Callable[..., Any]
) -> None:
    page = page_of(runs, tmp_path, comparison=compare("baseline", "matched", outcome=outcome))
    assert words in page.text
    assert page.classed("header", outcome)


def test_confounded_comparison_does_not_credit_distillation(
    runs: list[RunDir], tmp_path: Path, compare: Callable[..., Any]
) -> None:
    comparison = compare("baseline", "matched", outcome="better") | {
        "confounders": ["initial weights differ"]
    }
    text = page_of(runs, tmp_path, comparison=comparison).text
    assert "Distillation helped" not in text
    assert "matched is better than baseline by 3.1 AP points" in text
    assert "1 other thing differs" in text
    assert "initial weights differ" in text


def test_both_models_are_shown_on_the_same_images(runs: list[RunDir], tmp_path: Path) -> None:
    page = page_of(runs, tmp_path, max_images=5)
    assert len(page.all("image")) == 5
    assert all((image["href"] or "").startswith("data:image/jpeg;base64,") for image in page.all("image"))
    assert len(page.all("use")) == 2 * 5 + sum("xlink:href" in a for a in page.all("use"))
    for name in ("baseline", "matched"):
        assert sum(f"Detections of {name} on" in (a.get("aria-label") or "") for a in page.all("svg")) == 5
    # The default confidence is drawn by the server, so the page is whole without JavaScript.
    boxes = [a for t, a in page.tags if t == "g" and "data-score" in a]
    assert boxes
    for box in boxes:
        assert (float(box["data-score"] or 0) < 0.3) == ("off" in (box["class"] or "").split())


def test_nothing_is_loaded_from_anywhere(runs: list[RunDir], tmp_path: Path) -> None:
    page = page_of(runs, tmp_path)
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            if name in {"src", "href", "xlink:href", "srcset", "action", "data", "poster"}:
                assert (value or "").startswith(("data:image/jpeg", "#")), (tag, name, value)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "@import" not in html
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", html))
    assert not page.all("link")
    assert not page.all("iframe")


def test_ids_are_unique_and_every_reference_has_its_target(runs: list[RunDir], tmp_path: Path) -> None:
    page = page_of(runs, tmp_path)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    used = re.findall(r"url\(#([^)]+)\)", html) + re.findall(r'href="#([^"]+)"', html)
    assert used
    assert set(used) <= set(ids)


HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "{{ 7 * 7 }}",
    "<b>&amp;$x_1$",
)


def test_hostile_names_stay_text(tmp_path: Path, make_pair: Callable[..., Any]) -> None:
    data, runs = make_pair(tmp_path, classes=HOSTILE, names=("a<i>x", "b'\"><svg onload=alert(3)>"))
    coco = data.coco("val")
    for image in coco["images"]:
        image["file_name"] = image["file_name"].replace(".jpg", "<u onclick=alert(4)>.jpg")
    for file in sorted(data.images_dir("val").iterdir()):
        file.rename(file.with_name(file.name.replace(".jpg", "<u onclick=alert(4)>.jpg")))
    write_json(data.annotations_file("val"), coco)
    record = runs[0].record()
    record["recipe"]["description"] = "<script>alert(5)</script>"
    runs[0].write_record(record)
    page = page_of(
        runs, tmp_path, title="<script>alert(6)</script>", autolabel={"summary": "<script>alert(7)</script>"}
    )
    assert len(page.all("script")) == 1
    assert not {"img", "u", "i class", "b onclick"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    for name in (*HOSTILE, "a<i>x"):
        assert name in page.text
    assert "<u onclick=alert(4)>.jpg" in page.text


@pytest.mark.parametrize(
    ("gone", "line"),
    [
        ("bench", "no latency (bench.json is not there)"),
        ("metrics", "no validation metrics (val.json is not there)"),
        ("predictions", "no predictions (val.json is not there)"),
        ("log", "no training log"),
    ],
)
def test_missing_records_are_named(gone: str, line: str, runs: list[RunDir], tmp_path: Path) -> None:
    for run in runs:
        {
            "bench": run.bench_file,
            "metrics": run.metrics_file("val"),
            "predictions": run.predictions_file("val"),
            "log": run.log_file,
        }[gone].unlink()
    text = page_of(runs, tmp_path).text
    assert f"baseline: {line}" in text
    assert f"matched: {line}" in text


def test_a_single_run_without_any_other_record(runs: list[RunDir], tmp_path: Path) -> None:
    lone = RunDir(tmp_path / "lone")
    lone.write_record({"status": "finished", "kind": "train"})
    page = page_of([lone], tmp_path)
    assert "lone: not evaluated" in page.text
    assert "nothing to compare it with" in page.text
    assert "No pictures: no run has predictions." in page.text


def test_runs_that_were_not_compared_get_no_verdict(runs: list[RunDir], tmp_path: Path) -> None:
    page = page_of(runs, tmp_path)
    assert "No verdict: these runs were not compared" in page.text
    assert page.classed("header", "none")


def test_missing_or_changed_data_leaves_out_the_pictures(
    runs: list[RunDir], data: DataDir, tmp_path: Path
) -> None:
    broken = next(data.images_dir("val").iterdir())
    broken.write_bytes(b"no jpeg")
    assert "cannot be decoded" in page_of(runs, tmp_path, max_images=100).text
    write_json(data.record_file, data.record() | {"content_hash": "else"})
    assert "content hash differs" in page_of(runs, tmp_path).text
    data.record_file.unlink()
    page = page_of(runs, tmp_path)
    assert "No pictures:" in page.text
    assert "not a prepared dataset" in page.text
    assert not page.all("image")


def test_bench_record_with_few_keys(runs: list[RunDir], tmp_path: Path) -> None:
    write_json(runs[0].bench_file, {"records": [{"p50_ms": 12.5}, {}]})
    text = page_of(runs, tmp_path).text
    assert "unnamed device" in text
    assert "12.5 ms" in text


def test_doubtful_measurements_are_named(runs: list[RunDir], tmp_path: Path) -> None:
    bench = read_json(runs[1].bench_file)
    bench["records"][0] |= {"stable": False, "throttle_reasons": ["power cap"], "uncounted": ["aten::foo"]}
    write_json(runs[1].bench_file, bench)
    text = page_of(runs, tmp_path).text
    assert "Latency of matched (model, Test CPU, 2 threads): the device was slowed down (power cap)." in text
    assert "the warm-up did not become steady" in text
    assert "GFLOPs leave out aten::foo." in text
    assert "Latency of baseline" not in text


def test_projected_latency_never_fills_the_measured_column(runs: list[RunDir], tmp_path: Path) -> None:
    for run in runs:
        bench = read_json(run.bench_file)
        for record in bench["records"]:
            record["p50_ms"] = record["median_interval_ms"] = record["p95_ms"] = None
        write_json(run.bench_file, bench)
    html = report(runs, tmp_path / "report.html").read_text(encoding="utf-8")
    measured, projected = re.search(
        r'<td class="num edge">(.*?)</td>\s*<td class="num projected">(.*?)</td>',
        html.split("matched</span></th>")[1],
    ).groups()  # type: ignore[union-attr]
    assert measured == "–"
    assert "1.41" in projected


def test_audit_of_automatic_labels(runs: list[RunDir], tmp_path: Path) -> None:
    folder = {"photos": 10, "boxes": 20, "seen": {"frisbee": 9, "cup": 4}, "mismatch_share": 0.75}
    audit = {
        "summary": "3 of 4 boxes contradict their folder",
        "folders": [folder | {"folder": "metal", "mismatch_interval_95": [0.6, 0.85], "wrong_share": None}],
        "overall": folder | {"folder": "all"},
    }
    text = page_of(runs, tmp_path, autolabel=audit).text
    assert "3 of 4 boxes contradict their folder" in text
    assert "metal 10 20 frisbee 9, cup 4 75 % [60 %, 85 %] –" in text


def test_same_bytes_from_the_same_records(
    runs: list[RunDir], tmp_path: Path, compare: Callable[..., Any]
) -> None:
    comparison = compare("baseline", "matched")
    first = report(runs, tmp_path / "a.html", comparison=comparison).read_bytes()
    second = report(runs, tmp_path / "b.html", comparison=comparison).read_bytes()
    assert first == second
    assert len(first) < 3_000_000


def test_many_large_images_stay_within_the_budget(
    tmp_path: Path, make_pair: Callable[..., Any], noise: Callable[[Path], None]
) -> None:
    data, runs = make_pair(tmp_path, images=6)
    for file in data.images_dir("val").iterdir():
        noise(file)
    out = report(runs, tmp_path / "report.html", max_images=6)
    assert out.stat().st_size < 3_000_000


def test_refuses_what_it_cannot_show(runs: list[RunDir], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    with pytest.raises(UsageError, match="no run"):
        report([], out)
    with pytest.raises(UsageError, match="max_images = -1"):
        report(runs, out, max_images=-1)
    with pytest.raises(UsageError, match=r"score = 1\.5"):
        report(runs, out, score=1.5)
    with pytest.raises(DataError, match="lacks 'reference'"):
        report(runs, out, comparison={"differences": [{}]})
    runs[0].bench_file.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"bench\.json: not valid JSON"):
        report(runs, out)
    assert not out.exists()


def test_torch_is_not_imported() -> None:
    code = "import sys, taco_kd.report.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
