"""Settings: every shipped recipe parses, overrides apply, mistakes get one clear line."""

import pytest

from taco_kd.config import PrepareConfig, Recipe, load_recipe, recipe_names, validate
from taco_kd.errors import UsageError
from taco_kd.models.feature_zoo import FEATURE_MODELS
from taco_kd.models.zoo import MODELS


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_parse_and_name_models_that_exist(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.student.model in MODELS
    assert (recipe.teacher is None) == (recipe.distill is None)
    if recipe.teacher:
        assert recipe.teacher.model in (MODELS | FEATURE_MODELS)


def test_paper_recipe_has_the_paper_values():
    recipe = load_recipe("paper")
    assert recipe.distill is not None
    d, t = recipe.distill, recipe.train
    assert (d.feature_weight, d.class_weight, d.box_weight, d.temperature) == (1.0, 0.8, 1.2, 4.0)
    assert (d.features, d.classes, d.boxes, d.pairing, d.class_names) == (
        "mse",
        "softmax-kl",
        "l1",
        "index",
        "by-index",
    )
    assert (t.lr, t.weight_decay, t.epochs, t.batch_size) == (5e-5, 1e-4, 50, 32)


def test_the_demo_arms_differ_only_in_the_treatment():
    arms = [load_recipe(name).model_dump() for name in ("nano-baseline", "nano-paper", "nano-matched")]
    for arm in arms[1:]:
        assert arm["train"] == arms[0]["train"]
        assert arm["student"] == arms[0]["student"]
        assert arm["teacher"] == arms[1]["teacher"]


def test_overrides_numbers_words_and_sections():
    recipe = load_recipe(
        "nano-paper", ["train.lr=1e-4", "distill.pairing=hungarian", 'student.weights="a b"', "train.steps=7"]
    )
    assert recipe.train.lr == 1e-4
    assert recipe.distill is not None
    assert recipe.distill.pairing == "hungarian"
    assert recipe.student.weights == "a b"
    assert recipe.train.steps == 7


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.learning_rate=1", r"unknown setting 'train\.learning_rate'; valid here: .*lr"),
        ("trane.lr=1", r"unknown setting 'trane'; valid here: .*train"),
        ("distill.tau=1", r"unknown setting 'distill\.tau'; valid here: .*temperature"),
        ("train.lr=-1", r"train\.lr = -1: input should be greater than 0"),
        ("train.lr=fast", r"train\.lr = 'fast': input should be a valid number"),
        ("distill.pairing=magic", r"distill\.pairing = 'magic': input should be 'index', 'hungarian'"),
        ("train.lr", r"write it as section\.key=value"),
        ("name.x=1", r"'name' is not a section"),
    ],
)
def test_bad_overrides(override, says):
    with pytest.raises(UsageError, match=says) as raised:
        load_recipe("nano-paper", [override])
    assert "\n" not in str(raised.value)


def test_bad_recipes(tmp_path):
    with pytest.raises(UsageError, match=r"unknown recipe 'papper': choose one of .*nano-paper"):
        load_recipe("papper")
    with pytest.raises(UsageError, match=r"none\.toml: no such recipe file"):
        load_recipe("none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(UsageError, match=r"broken\.toml: not valid TOML"):
        load_recipe(str(broken))


def test_a_recipe_file_of_the_user(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('name = "mine"\ndescription = "x"\n[train]\nlr = 0.5\n')
    assert load_recipe(str(mine)) == Recipe(name="mine", description="x", train={"lr": 0.5})  # type: ignore[arg-type]


def test_prepare_settings_say_what_is_wrong():
    with pytest.raises(
        UsageError, match=r"source = 'zip': input should be 'auto', 'synthetic', 'coco', 'taco'"
    ):
        validate(PrepareConfig, {"source": "zip"}, where="taco-kd prepare")
