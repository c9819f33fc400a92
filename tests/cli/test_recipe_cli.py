"""``taco-kd recipe``: every value with its source; and flags of ``distill`` that reach every teacher."""

import json

import pytest
from typer.testing import CliRunner

from taco_kd.cli import app as cli
from taco_kd.cli.training import _for_all_teachers
from taco_kd.config import load_recipe, recipe_names
from taco_kd.config.resolved import resolved
from taco_kd.errors import UsageError

MINE = """
name = "mine"
description = "d"
[train]
# from the lab book,
# page 7
lr = 0.1

# of nothing

epochs = 2 # quick
lr_ratios = { "a.b" = 0.1 } # slow
[student]
model = "rtdetr-nano"
[teacher]
model = "conditional-detr-nano"
[distill]
classes = "off"
[[also]]
weight = 0.5 # half
teacher = { model = "conditional-detr-nano" }
distill = { boxes = "off" }
"""


def shown(*words):
    found = CliRunner().invoke(cli.app, ["recipe", "show", *words, "--json"], catch_exceptions=False)
    assert found.exit_code == 0
    said = json.loads(found.stdout)
    return said["recipe"], {row["key"]: row for row in said["settings"]}


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_shown_whole(name):
    recipe, settings = resolved(name, {})
    values = {setting.key: setting for setting in settings}
    assert values["train.lr"].value == recipe.train.lr
    assert values["name"].value == name
    assert {setting.source for setting in settings} <= {"recipe", "default"}
    assert values["student.model"].source == "recipe"
    assert values["student.refinement"].source in ("default", "recipe")


def test_the_paper_says_where_its_values_stand():
    _, settings = shown("paper")
    by_paper = {key for key, row in settings.items() if "IV-C" in row["note"] or "Eq." in row["note"]}
    assert {"train.lr", "train.epochs", "train.batch_size", "train.weight_decay"} <= by_paper
    assert {"distill.feature_weight", "distill.class_weight", "distill.box_weight"} <= by_paper
    assert "distill.temperature" in by_paper


def test_flags_and_defaults_are_told_apart():
    _, settings = shown("nano-paper", "--set", "train.lr=0.5", "--set", "train.seed=3")
    assert (settings["train.lr"]["value"], settings["train.lr"]["source"]) == (0.5, "--set")
    assert settings["train.seed"]["source"] == "--set"
    assert settings["train.batch_size"]["source"] == "recipe"
    assert settings["train.device"]["source"] == "default"


def test_a_dinov3_teacher_means_its_own_recipe():
    assert shown("paper", "--teacher", "dinov3-vit")[0] == "dinov3-vit-paper"
    assert shown("corrected", "--teacher", "dinov3-convnext")[0] == "dinov3-convnext-corrected"


def test_a_file_of_a_users_own(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(MINE)
    settings = {s.key: s for s in resolved(str(file), {"--set": ["also.0.distill.boxes=l1"]})[1]}
    assert settings["train.lr"].note == "from the lab book, page 7"
    assert settings["train.epochs"].note == "quick"
    assert (settings["train.lr_ratios"].value, settings["train.lr_ratios"].note) == ({"a.b": 0.1}, "slow")
    assert (settings["also.0.weight"].value, settings["also.0.weight"].note) == (0.5, "half")
    assert settings["also.0.teacher.model"].source == "recipe"
    assert (settings["also.0.distill.boxes"].value, settings["also.0.distill.boxes"].source) == (
        "l1",
        "--set",
    )
    assert settings["also.0.distill.classes"].source == "default"
    assert settings["pretrain"].value is None


def test_the_table_is_readable():
    found = CliRunner().invoke(cli.app, ["recipe", "show", "paper"], catch_exceptions=False)
    line = next(line for line in found.stdout.splitlines() if "train.batch_size" in line)
    assert line.split()[:3] == ["train.batch_size", "32", "recipe"]


def test_an_unknown_recipe_is_one_line():
    with pytest.raises(UsageError, match="unknown recipe 'papr': choose one of baseline"):
        CliRunner().invoke(cli.app, ["recipe", "show", "papr"], catch_exceptions=False)


def test_recipe_list_is_list_recipes():
    ours, theirs = (
        CliRunner().invoke(cli.app, words, catch_exceptions=False).stdout
        for words in (["recipe", "list"], ["list", "recipes"])
    )
    assert ours == theirs
    assert "nano-paper" in ours


def test_strict_and_no_gate_contradict_each_other():
    with pytest.raises(UsageError, match="contradict"):
        CliRunner().invoke(cli.app, ["distill", "--strict", "--no-gate"], catch_exceptions=False)


def test_cache_and_gate_reach_all_teachers():
    given = _for_all_teachers(1, "7", "strict")
    also = 'also=[{teacher = {model = "conditional-detr-nano"}, distill = {features = "off"}}]'
    recipe = load_recipe("nano-paper", [also, *(f"{key}={value}" for key, value in given.items())])
    assert [lesson.distill.cache for lesson in recipe.lessons()] == ["7", "7"]
    assert [lesson.distill.gate for lesson in recipe.lessons()] == ["strict", "strict"]


@pytest.mark.parametrize("key", ["also.1.weight", "also.x.weight", "also.weight"])
def test_a_place_that_is_not_in_a_list(key):
    also = 'also=[{teacher = {model = "conditional-detr-nano"}, distill = {features = "off"}}]'
    with pytest.raises(UsageError, match="--set"):
        load_recipe("nano-paper", [also, f"{key}=1"])
