"""Weights as a user types them: formats, refusals, what is printed and what is recorded."""

import json
import os
import pickle
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from taco_kd.models import zoo


@pytest.fixture
def program(monkeypatch, capsys, tmp_path):
    """The program in this process, in an empty folder: exit code, stdout, stderr."""

    def run(*words):
        from taco_kd.cli import main

        monkeypatch.setattr(sys, "argv", ["taco-kd", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture(scope="module")
def packaged():
    return zoo.packaged_file(zoo.find("rtdetr-nano"))


@pytest.fixture(scope="module")
def state(packaged):
    """As transformers saves it: tied weights once, under the names of the decoder."""
    return {k: v for k, v in load_file(packaged).items() if not k.startswith(("class_embed", "bbox_embed"))}


def one_line(err):
    lines = err.strip().splitlines()
    assert "Traceback" not in err
    return lines[-1]


def test_every_load_is_printed_and_recorded(program, small_data, packaged, tmp_path):
    code, _, err = program("distill", "--data", small_data.path, "--steps", 1, "--out", "run")
    assert code == 0, err
    lines = [line for line in err.splitlines() if "keys matched of" in line]
    assert len(lines) == 2
    assert lines[0].startswith("rtdetr-nano packaged weights: 443 keys matched of 443 (100 % of the values)")
    assert lines[1].startswith("conditional-detr-nano packaged weights: 217 keys matched of 217")
    student, teacher = json.loads((tmp_path / "run/run.json").read_text())["loads"]
    assert (len(student["matched"]), student["missing"], student["unexpected"]) == (443, [], [])
    assert student["origin"]["path"] == str(packaged)
    assert teacher["matched_share"] == 1.0


@pytest.mark.parametrize(
    ("rename", "hint"),
    [
        (lambda k: f"module.{k}", "--strip-prefix module."),
        (lambda k: k.removeprefix("model."), "--add-prefix model."),
    ],
    ids=["a prefix too many", "a prefix lost"],
)
def test_the_papers_case_nothing_loads_and_it_is_said(program, small_data, state, tmp_path, rename, hint):
    """The released code fine-tuned two checkpoints of which it loaded 0 of 744 keys, without a word."""
    save_file({rename(k): v for k, v in state.items()}, tmp_path / "stage1.safetensors")
    words = (
        "train",
        "--data",
        small_data.path,
        "--steps",
        1,
        "--weights",
        "stage1.safetensors",
        "--out",
        "run",
    )
    code, out, err = program(*words)
    assert code == 4
    line = one_line(err)
    assert "stage1.safetensors: 0 keys matched of 443 (0 % of the values), 443 missing" in line
    assert "less than 90 % of the values arrived" in line
    assert f"504 of its 504 keys would fit with {hint};" in line
    assert out == ""
    assert not (tmp_path / "run").exists()
    # said, it is repaired; and the recipe keeps it, so that the run can be repeated
    code, _, err = program(*words, *hint.split())
    assert code == 0, err
    assert "434 keys matched of 443 (100 % of the values)" in err
    assert "prefix" in err
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert hint.split()[1] in record["recipe"]["student"].values()


def test_allow_partial_goes_on_and_is_recorded(program, small_data, state, tmp_path):
    part = {k: v for k, v in state.items() if "backbone" not in k}
    save_file(part, tmp_path / "part.safetensors")
    words = (
        "train",
        "--data",
        small_data.path,
        "--steps",
        1,
        "--weights",
        "part.safetensors",
        "--out",
        "run",
    )
    code, _, err = program(*words)
    assert code == 4
    assert "--allow-partial" in one_line(err)
    code, _, err = program(*words, "--allow-partial")
    assert code == 0, err
    assert "partial, as --allow-partial allows" in err
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["recipe"]["student"]["allow_partial"] is True
    assert record["loads"][0]["matched_share"] < 0.9


def test_a_failed_load_costs_nothing_that_was_there(program, small_data, state, tmp_path):
    words = ("train", "--data", small_data.path, "--steps", 1, "--out", "run")
    assert program(*words)[0] == 0
    before = (tmp_path / "run/run.json").read_bytes()
    save_file({f"x.{k}": v for k, v in state.items()}, tmp_path / "x.safetensors")
    assert program(*words, "--weights", "x.safetensors", "--overwrite")[0] == 4
    assert (tmp_path / "run/run.json").read_bytes() == before


class Spy:
    def __reduce__(self):
        return (os.system, ("touch run-by-a-stranger",))


def bad_file(kind, folder, packaged):
    """A file that is not what its name says; returns its name."""
    if kind == "truncated":
        (folder / "cut.safetensors").write_bytes(packaged.read_bytes()[:5000])
        return "cut.safetensors"
    if kind == "zero bytes":
        (folder / "zero.safetensors").touch()
        return "zero.safetensors"
    if kind == "web page":
        (folder / "page.safetensors").write_text("<!DOCTYPE html><html>Sign in</html>")
        return "page.safetensors"
    if kind == "git-lfs":
        (folder / "lfs.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
        return "lfs.safetensors"
    if kind == "pth named safetensors":
        torch.save({"a": torch.zeros(1)}, folder / "x.safetensors")
        return "x.safetensors"
    if kind == "safetensors named pth":
        (folder / "x.pth").write_bytes(packaged.read_bytes())
        return "x.pth"
    if kind == "truncated pth":
        torch.save({"a": torch.zeros(10000)}, folder / "whole.pth")
        (folder / "cut.pth").write_bytes((folder / "whole.pth").read_bytes()[:9000])
        return "cut.pth"
    if kind == "code":
        torch.save({"model": Spy()}, folder / "code.pth")
        return "code.pth"
    if kind == "bare pickle":
        (folder / "code.pth").write_bytes(pickle.dumps(Spy()))
        return "code.pth"
    if kind == "no weights":
        torch.save({"epoch": 3, "args": [1]}, folder / "log.pth")
        return "log.pth"
    if kind == "suffix":
        (folder / "weights.ckpt2").write_bytes(b"x")
        return "weights.ckpt2"
    if kind == "empty folder":
        (folder / "nothing").mkdir()
        return "nothing"
    if kind == "foreign config":
        (folder / "bert").mkdir()
        (folder / "bert/config.json").write_text('{"model_type": "bert"}')
        return "bert"
    if kind == "config without weights":
        (folder / "cfg").mkdir()
        (folder / "cfg/config.json").write_text('{"model_type": "rt_detr_v2"}')
        return "cfg"
    assert kind == "lost shard"
    (folder / "lost").mkdir()
    (folder / "lost/config.json").write_text('{"model_type": "rt_detr_v2"}')
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "lost/model.safetensors.index.json").write_text(json.dumps(index))
    return "lost"


@pytest.mark.parametrize(
    ("kind", "code", "says"),
    [
        ("truncated", 3, "cut.safetensors: not a readable safetensors file"),
        ("zero bytes", 3, "zero.safetensors: is empty (0 bytes)"),
        ("web page", 3, "page.safetensors: a web page and not weights"),
        ("git-lfs", 3, "lfs.safetensors: a git-LFS pointer"),
        ("pth named safetensors", 3, "it is a PyTorch or zip file: name it .pth"),
        ("safetensors named pth", 3, "it is a safetensors file: name it .safetensors"),
        ("truncated pth", 3, "cut.pth: not a readable PyTorch file"),
        ("code", 3, "code.pth: holds pickled program objects"),
        ("bare pickle", 3, "code.pth: "),
        ("no weights", 3, "log.pth: holds no weights where training programs keep them"),
        ("suffix", 3, "weights.ckpt2: weights are read from .safetensors, .pth"),
        ("empty folder", 3, "nothing: holds no weights"),
        ("foreign config", 2, "bert: unknown model type 'bert': choose one of"),
        ("config without weights", 4, "cfg: holds a config.json and no weights"),
        ("lost shard", 4, "model-00001-of-00002.safetensors: this shard of the weights is missing"),
    ],
)
def test_a_bad_file_is_one_clear_line(program, packaged, tmp_path, kind, code, says):
    name = bad_file(kind, tmp_path, packaged)
    found, out, err = program("inspect-weights", name)
    assert found == code, err
    assert says in one_line(err)
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert not (tmp_path / "run-by-a-stranger").exists()


def test_inspect_weights_says_what_is_held_and_how_it_would_load(program, packaged, state, tmp_path):
    code, out, _ = program("inspect-weights", packaged)
    assert code == 0
    assert "rtdetr-nano" in out
    assert "192 px" in out
    assert "443 keys matched of 443" in out
    save_file({f"module.{k}": v for k, v in state.items()}, tmp_path / "ddp.safetensors")
    code, out, _ = program("inspect-weights", "ddp.safetensors")
    assert code == 0
    assert "name one with --model" in out
    code, out, _ = program("inspect-weights", "ddp.safetensors", "--model", "rtdetr-nano", "--json")
    found = json.loads(out)
    assert (found["loads"], found["classes"], found["load"]["matched"]) == (False, None, [])
    assert "--strip-prefix module." in found["load_hint"]
    words = ("--model", "rtdetr-nano", "--strip-prefix", "module.", "--keys")
    code, out, _ = program("inspect-weights", "ddp.safetensors", *words)
    assert code == 0
    assert out.count(" matched") > 400


def test_teacher_and_student_of_other_size_and_normalisation(program, small_data, packaged, tmp_path):
    """Each sees the same photographs in its own way; both ways travel with the checkpoints."""
    from taco_kd.models.weights import save_model

    teacher = zoo.load(zoo.packaged_file(zoo.find("conditional-detr-nano")))
    teacher.image_size = 224
    teacher.set_normalisation([0.45] * 3, [0.25] * 3)
    save_model(tmp_path / "teacher.safetensors", teacher)
    words = ("--data", small_data.path, "--steps", 1, "--set", "distill.features=off")
    code, _, err = program(
        "distill", *words, "--teacher", "teacher.safetensors", "--image-size", 160, "--out", "run"
    )
    assert code == 0, err
    student = zoo.load(tmp_path / "run")
    assert (student.image_size, student.std.unique().tolist()) == (160, [1.0])
    # a run that starts from it keeps its size, unless told otherwise
    code, _, err = program("train", *words[:4], "--weights", "run", "--out", "next")
    assert code == 0, err
    assert zoo.load(tmp_path / "next").image_size == 160
    code, _, err = program("train", *words[:4], "--weights", "run", "--image-size", 100, "--out", "x")
    assert code == 2
    assert "image_size = 100" in one_line(err)


def test_coco_names_reach_taco_through_the_table_only_when_asked(program, small_data, tmp_path):
    """A teacher that knows COCO's bottle and cup, and a student of TACO's."""
    from taco_kd.models.weights import save_model

    torch.manual_seed(0)
    save_model(
        tmp_path / "coco.safetensors", zoo.find("conditional-detr-nano").build(("bottle", "cup", "dog"))
    )
    words = (
        "distill",
        "--data",
        small_data.path,
        "--steps",
        1,
        "--teacher",
        "coco.safetensors",
        "--out",
        "run",
    )
    code, _, err = program(*words)
    assert code == 2
    assert "teacher and student share no class name" in one_line(err)
    assert "--class-map coco-to-taco" in one_line(err)
    code, _, err = program(*words, "--class-map", "coco-to-taco")
    assert code == 0, err
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["recipe"]["distill"]["class_map"] == "coco-to-taco"
    assert record["class_pairs"]["Clear plastic bottle"] == "bottle"
    (tmp_path / "mine.csv").write_text("from,to\nbottel,Glass bottle\n")
    code, _, err = program(*words, "--class-map", "mine.csv", "--overwrite")
    assert code == 2
    assert "mine.csv:2: from = 'bottel' is no class; did you mean 'bottle'?" in one_line(err)
