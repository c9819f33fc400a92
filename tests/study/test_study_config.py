"""The settings of studies: what ships, and what is refused in one line."""

import pytest

from taco_kd.errors import UsageError
from taco_kd.study.cells import expand
from taco_kd.study.config import load_study, study_names


def test_every_shipped_study_is_a_grid_of_valid_recipes(tmp_path):
    assert {"table1", "table1-nano"} <= set(study_names())
    for name in study_names():
        study = load_study(name)
        assert study.name == name
        cells = expand(study, tmp_path)
        assert len({cell.id for cell in cells}) == len(cells) >= 2
        compared = {arm.name for arm in study.arms if arm.compared}
        assert len(compared) >= 2
        assert len(study.seeds) >= 3
    assert list(tmp_path.iterdir()) == []


def test_the_paper_table_keeps_its_settings(tmp_path):
    by_id = {cell.id: cell.recipe for cell in expand(load_study("table1"), tmp_path)}
    paper, base = by_id["rt-co-detr_coco_seed1"], by_id["rt-detr-l_coco_seed1"]
    assert (paper.train.lr, paper.train.epochs, paper.train.batch_size) == (5e-5, 50, 32)
    assert paper.train == base.train  # only the treatment differs
    assert paper.student == base.student
    assert base.teacher is None
    assert (paper.distill.feature_weight, paper.distill.class_weight, paper.distill.box_weight) == (
        1,
        0.8,
        1.2,
    )
    matched = by_id["matched_imagenet_seed1"]
    assert matched.student == by_id["rt-detr-l_imagenet_seed1"].student
    assert matched.teacher.model == "conditional-detr-r50"
    assert matched.teacher.weights == str(tmp_path / "runs" / "teacher_coco_seed1")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("seeds =", "seed ="), "unknown setting 'seed'; valid here: arms, data, description"),
        (
            ('recipe = "nano-paper"', 'recipes = "x"'),
            "unknown setting 'arms.1.recipes'; valid here: compared",
        ),
        (('recipe = "nano-paper"', ""), "arms.1.recipe is missing"),
        (("seeds = [0, 1]", "seeds = [0, 0]"), "seed 0 is given 2 times"),
        (("seeds = [0, 1]", "seeds = []"), "seeds ="),
        (("seeds = [0, 1]", "seeds = [-1]"), "seeds.0 = -1"),
        (('name = "paper"', 'name = "baseline"'), "arm baseline is given 2 times"),
        (('name = "paper"', 'name = "a_b"'), "arms.1.name = 'a_b'"),
        (('name = "paper"', 'name = "../x"'), "arms.1.name = '../x'"),
        (
            ('reference = "baseline"', 'reference = "base"'),
            "reference 'base' is not defined; choose one of base",
        ),
        (("path = ", 'prepare.source = "synthetic"\npath = '), "either path (a prepared dataset) or prepare"),
        (("seeds = [0, 1]", "folds = {count = 1}"), "folds.count = 1"),
        (('name = "paper"', 'name = "paper"\ninitialisations = ["x"]'), "initialisation 'x' is not defined"),
        (('name = "paper"', 'name = "paper"\nstudent_from = "x"'), "an arm called 'x' is not defined"),
        (('name = "paper"', 'name = "paper"\nteacher_from = "paper"'), "wait for each other: paper -> paper"),
        (
            ('name = "baseline"\n', 'name = "baseline"\ncompared = false\n'),
            "the reference baseline has compared",
        ),
        (("seeds = [0, 1]", "seeds = [0, 1"), "not valid TOML"),
    ],
)
def test_mistakes_are_named(text, load, change, says):
    whole = text()
    assert change[0] in whole
    with pytest.raises(UsageError) as error:
        load(whole.replace(*change, 1))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("nano-paper", "nano-papper"), "unknown recipe 'nano-papper'"),
        (("steps = 2", "step = 2"), "unknown setting 'train.step'"),
        (("steps = 2", "steps = 0"), "arm baseline: train.steps = 0"),
    ],
)
def test_mistakes_in_an_arm_are_named_before_anything_is_written(text, load, tmp_path, change, says):
    with pytest.raises(UsageError, match=says):
        expand(load(text().replace(*change, 1)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_names():
    with pytest.raises(UsageError, match=r"unknown study 'table2': choose one of distill-nano, table1"):
        load_study("table2")
    with pytest.raises(UsageError, match=r"nowhere\.toml: no such study file"):
        load_study("nowhere.toml")
