"""The program as a user types it: help, exit codes, one-line errors, JSON, and the four first commands."""

import json
import re
import subprocess
import sys
import time

import pytest

COMMANDS = (
    "demo",
    "download",
    "prepare",
    "audit",
    "train",
    "distill",
    "evaluate",
    "compare",
    "bench",
    "report",
    "recipe",
    "study",
    "autolabel-demo",
    "pseudo-label",
    "list",
    "inspect-weights",
    "doctor",
)


def run(*words, cwd=None, timeout=500):
    return subprocess.run(
        [sys.executable, "-m", "taco_kd", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        check=False,
    )


def test_help_lists_every_command_and_imports_no_torch():
    found = run("--help")
    assert found.returncode == 0
    assert all(name in found.stdout for name in COMMANDS)
    code = (
        "import sys, taco_kd.cli; print(sorted({'torch', 'pydantic', 'transformers'} & sys.modules.keys()))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.slow
def test_help_is_fast():
    def once():
        began = time.perf_counter()
        run("--help")
        return time.perf_counter() - began

    once()
    assert min(once() for _ in range(5)) < 0.5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command):
    found = run(command, "--help")
    assert found.returncode == 0
    assert re.search(r"Examples?\b", found.stdout)
    assert f"taco-kd {command}" in found.stdout


def test_help_shows_defaults_that_are_worked_out_later():
    for command, default in (("train", "taco-kd-out/runs/RECIPE"), ("compare", "that of the runs")):
        words = run(command, "--help").stdout.replace("│", " ").split()
        assert default in " ".join(words)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            ["list", "dragons"],
            2,
            "unknown list 'dragons': choose one of models, recipes",
        ),
        (["evaluate", "nowhere"], 3, "nowhere: not a run folder"),
        (["compare", "one"], 2, "compare needs at least two run folders or results files"),
        (["train", "--data", "nowhere"], 3, "nowhere: not a prepared dataset"),
        (["train", "--set", "train.learning=1"], 2, "unknown setting 'train.learning'"),
        (["train", "--recipe", "papper"], 2, "unknown recipe 'papper'"),
        (["train", "--resume", "nowhere"], 3, "nowhere: not a run folder"),
        (
            ["distill", "--teacher", "nobody"],
            2,
            "--teacher nobody: not one of conditional-detr, dinov3-convnext, dinov3-vit, no model of",
        ),
        (["distill", "--recipe", "paper"], 4, "PekingU/rtdetr_v2_r50vd"),
        (["distill", "--teacher", "."], 3, "not a run folder"),
        (["prepare", "--source", "zip"], 2, "source = 'zip'"),
        (["prepare", "--size", "7"], 2, "size = 7"),
        (["prepare", "--source", "coco", "--images", ".", "--annotations", "no.json"], 3, "no.json"),
        (["prepare", "--hash", "md5"], 2, "hash = 'md5'"),
        (["prepare", "--hash", "whash", "--hash-size", "12"], 2, "hash_size 12: whash needs a power of two"),
        (["audit", "nowhere"], 3, "nowhere: no such file or folder"),
        (["audit", ".", "--turn-labels"], 2, "--turn-labels needs --fix NEW"),
        (["audit", ".", "--fail-on", "doubt"], 2, "unknown --fail-on 'doubt'"),
        (["download", "coco", "--out", "x"], 2, "unknown dataset 'coco'"),
        (["download", "taco", "--out", "x"], 2, "give --annotations FILE"),
        (["download", "taco", "--out", "x", "--annotations", "no.json"], 3, "no.json: no such file"),
        (["autolabel-demo", "--detector", "no.onnx"], 4, "no.onnx"),
        (["autolabel-demo", "--filter", "magic"], 2, "unknown remedy 'magic'"),
        (["autolabel-demo", "--reviews", "no.json"], 3, "holds no auto-labelling to review"),
        (["pseudo-label", "nobody"], 2, "--images FOLDER or --data DATASET"),
        (["report", "nowhere"], 3, "nowhere: not a run folder"),
        (["bench", "nowhere"], 3, "nowhere: not a run folder"),
    ],
)
def test_a_mistake_is_one_line_an_exit_code_and_no_traceback(words, code, says, tmp_path):
    found = run(*words, cwd=tmp_path)
    assert found.returncode == code, found.stderr
    assert "Traceback" not in found.stderr
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("taco-kd: ")
    assert says in last
    assert found.stdout == ""
    assert not any(tmp_path.iterdir())


def test_debug_shows_the_traceback(tmp_path):
    found = run("--debug", "list", "dragons", cwd=tmp_path)
    assert found.returncode == 2
    assert "Traceback" in found.stderr


def test_a_wrong_flag_is_usage(tmp_path):
    found = run("prepare", "--colour", "red", cwd=tmp_path)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr


def test_list_and_doctor_as_json():
    studies = json.loads(run("list", "studies", "--json").stdout)
    assert {"table1", "table1-nano"} <= {s["name"] for s in studies}
    models = json.loads(run("list", "models", "--json").stdout)
    assert {"rtdetr-nano", "conditional-detr-nano"} <= {m["name"] for m in models}
    doctor = json.loads(run("doctor", "--json").stdout)
    assert doctor["packaged_weights"] == {"rtdetr-nano": True, "conditional-detr-nano": True}
    assert doctor["packages"]["torch"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An empty folder in which a user has just installed the package."""
    return tmp_path_factory.mktemp("home")


def test_the_four_first_commands_in_order(home):
    """As typed in the README, but with short lengths: the full ones are the slow test below."""
    first = run("prepare", "--scenes", 24, "--size", 192, cwd=home)
    assert first.returncode == 0, first.stderr
    assert "built-in synthetic scenes" in first.stderr
    assert "24 images" not in first.stdout  # planted duplicates were read too
    assert re.search(
        r"\d+ images read, 1 duplicate removed, 1 turned by EXIF -> \d+ train / \d+ val", first.stdout
    )
    again = run("prepare", "--scenes", 24, "--size", 192, cwd=home)
    assert again.stdout == first.stdout

    distilled = run("distill", "--teacher", "conditional-detr", "--steps", 2, "--json", cwd=home)
    assert distilled.returncode == 0, distilled.stderr
    assert "packaged conditional-detr-nano" in distilled.stderr
    result = json.loads(distilled.stdout)
    assert result["run"] == "taco-kd-out/runs/nano-matched"
    assert 0 <= result["after"]["ap"] <= 1

    bench = run("bench", "--gpu", "t4", "--seconds", 0.2, "--iterations", 5, "--json", cwd=home)
    assert bench.returncode == 0, bench.stderr
    assert "projected" in bench.stderr
    records = json.loads(bench.stdout)
    assert {r["scope"] for r in records} == {"model", "e2e"}
    assert all("T4" not in r["device"] for r in records)
    assert all(p["device"] == "Tesla T4" for r in records for p in r["projected"])
    assert any(r["projected"] for r in records)

    labelled = run("autolabel-demo", "--limit", 2, cwd=home)
    assert labelled.returncode == 0, labelled.stderr
    assert (home / "taco-kd-out/autolabel/mismatch.png").stat().st_size > 10_000
    assert "The truth is known" in labelled.stdout


def test_train_compare_and_report_on_what_is_there(home):
    assert run("train", "--steps", 2, cwd=home).returncode == 0
    compared = run(
        "compare",
        "taco-kd-out/runs/nano-baseline",
        "taco-kd-out/runs/nano-matched",
        "--resamples",
        100,
        cwd=home,
    )
    assert compared.returncode == 0, compared.stderr
    assert "distinguishable" in compared.stdout or "AP points" in compared.stdout
    assert "warning" not in compared.stderr  # same initial weights, data, steps: nothing confounds
    page = run("report", "--resamples", 100, cwd=home)
    assert page.returncode == 0, page.stderr
    html = (home / "taco-kd-out/report.html").read_text()
    assert "nano-baseline" in html
    assert "nano-matched" in html
    assert page.stdout.strip().endswith("report.html")


def test_a_run_can_be_the_teacher(home):
    student = home / "taco-kd-out/runs/nano-baseline"
    found = run("distill", "--teacher", student, "--steps", 1, "--out", "self", "--json", cwd=home)
    assert found.returncode == 0, found.stderr
    record = json.loads((home / "self/run.json").read_text())
    teacher = record["recipe"]["teacher"]
    assert (teacher["model"], teacher["weights"]) == ("rtdetr-nano", str(student))


def test_a_confounded_comparison_warns(home):
    done = run("train", "--steps", 3, "--out", "longer", cwd=home)
    assert done.returncode == 0, done.stderr
    compared = run("compare", "taco-kd-out/runs/nano-baseline", "longer", "--resamples", 100, cwd=home)
    assert "warning:" in compared.stderr
    assert "steps" in compared.stderr


def test_an_output_folder_with_another_dataset_is_kept(home):
    before = (home / "taco-kd-out/data/dataset.json").read_text()
    found = run("prepare", "--scenes", 25, "--size", 192, cwd=home)
    assert found.returncode == 2
    assert "already holds another dataset; choose another --out or add --overwrite" in found.stderr
    assert (home / "taco-kd-out/data/dataset.json").read_text() == before


@pytest.mark.slow
def test_the_four_first_commands_exactly_as_typed(tmp_path):
    for line in (
        "prepare",
        "distill --teacher conditional-detr",
        "bench --gpu t4",
        "autolabel-demo",
    ):
        found = run(*line.split(), cwd=tmp_path, timeout=1200)
        assert found.returncode == 0, found.stderr
